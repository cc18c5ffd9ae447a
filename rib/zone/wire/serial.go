package wire

// Newer reports whether serial a is newer than b, as RFC 1982 section 3.2 compares. For
// two that are 2^31 apart, which it leaves undefined, neither is newer.
func Newer(a, b uint32) bool { return a != b && a-b < 1<<31 }
