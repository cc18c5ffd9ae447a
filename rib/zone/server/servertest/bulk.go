package servertest

import (
	"os"
	"strconv"
)

// BulkSize is the number of zones at once that drivers are measured with: the 10,000
// of the promise, or what KANAME_BULK says.
func BulkSize() int {
	if n, err := strconv.Atoi(os.Getenv("KANAME_BULK")); err == nil && n > 0 { //nolint:forbidigo // a smaller run by hand
		return n
	}
	return 10000
}
