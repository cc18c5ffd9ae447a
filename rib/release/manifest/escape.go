package manifest

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// Names on Unix are bytes; real archives hold Latin-1, EUC-JP and Shift-JIS names,
// which JSON cannot. An entry with such a string carries "e":true, and then in all
// its strings "%" and every byte that is not part of UTF-8 is written as "%XX".

const hexDigits = "0123456789ABCDEF"

// escape makes any bytes UTF-8, reversibly.
func escape(s string) string {
	var b strings.Builder
	for len(s) > 0 {
		r, n := utf8.DecodeRuneInString(s)
		if r == '%' || r == utf8.RuneError && n == 1 {
			b.WriteByte('%')
			b.WriteByte(hexDigits[s[0]>>4])
			b.WriteByte(hexDigits[s[0]&15])
		} else {
			b.WriteString(s[:n])
		}
		s = s[n:]
	}
	return b.String()
}

// unescape undoes escape.
func unescape(s string) (string, error) {
	if !strings.Contains(s, "%") {
		return s, nil
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '%' {
			b.WriteByte(s[i])
			continue
		}
		if i+2 >= len(s) {
			return "", fmt.Errorf("%q ends within an escape", s)
		}
		hi, lo := strings.IndexByte(hexDigits, s[i+1]), strings.IndexByte(hexDigits, s[i+2])
		if hi < 0 || lo < 0 {
			return "", fmt.Errorf("%q holds a bad escape", s)
		}
		b.WriteByte(byte(hi<<4 | lo)) //nolint:gosec // both are below 16
		i += 2
	}
	return b.String(), nil
}
