package zone

import "kaname.dev/kaname/lab"

// How benches write their figures.
var (
	figures = lab.Figures
	record  = lab.Record
)
