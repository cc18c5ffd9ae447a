package action

import (
	"fmt"

	"github.com/dustin/go-humanize"
)

// UnmarshalYAML reads the text form, so that a configuration can hold sizes.
func (b *Bytes) UnmarshalYAML(text []byte) error {
	n, err := humanize.ParseBytes(string(text))
	if err != nil || n > 1<<62 {
		return fmt.Errorf("%q is not a size such as 512KiB or 20MiB", text)
	}
	*b = Bytes(n)
	return nil
}
