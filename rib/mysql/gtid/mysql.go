package gtid

import (
	"cmp"
	"encoding/hex"
	"math"
	"slices"
	"strconv"
	"strings"
)

const (
	// maxNumber is the highest transaction number of MySQL: one below the end mark.
	maxNumber = math.MaxInt64 - 1
	maxTag    = 32
)

// source is one originator of MySQL's transactions: a server, and the tag it gave them.
type source struct {
	uuid [16]byte
	tag  string
	runs []run // ascending, none touching the next
}

// run is the transactions from lo to hi, both included.
type run struct{ lo, hi uint64 }

func (s source) compare(o source) int {
	if c := slices.Compare(s.uuid[:], o.uuid[:]); c != 0 {
		return c
	}
	return cmp.Compare(s.tag, o.tag)
}

func parseMySQL(sc *scanner) (Set, error) {
	var all []source
	for {
		for sc.take(',') { // MySQL allows empty members
		}
		if sc.space(); sc.end() {
			return Set{sources: normal(all)}, nil
		}
		var err error
		if all, err = parseSource(sc, all); err != nil {
			return Set{}, err
		}
		if sc.space(); !sc.end() && sc.peek() != ',' {
			return Set{}, sc.bad(`want "," or ":"`)
		}
	}
}

// parseSource reads a uuid and its intervals and tags, and appends them to all.
func parseSource(sc *scanner, all []source) ([]source, error) {
	cur := source{}
	if err := parseUUID(sc, &cur.uuid); err != nil {
		return nil, err
	}
	keep := func() { // a uuid or tag without transactions is nothing
		if len(cur.runs) > 0 {
			all = append(all, cur)
		}
	}
	for sc.take(':') {
		if sc.space(); isTag(sc.peek(), true) {
			keep()
			tag, err := parseTag(sc)
			if err != nil {
				return nil, err
			}
			cur = source{uuid: cur.uuid, tag: tag}
			continue
		}
		r, err := parseRun(sc)
		if err != nil {
			return nil, err
		}
		if r.lo <= r.hi { // MySQL takes 5-3 for nothing
			cur.runs = append(cur.runs, r)
		}
	}
	keep()
	return all, nil
}

// parseUUID reads 32 hexadecimal digits, with all of the four dashes or none.
func parseUUID(sc *scanner, to *[16]byte) error {
	rest := sc.text[sc.at:]
	long := len(rest) > 8 && rest[8] == '-'
	at := 0
	for i := range to {
		if long && (i == 4 || i == 6 || i == 8 || i == 10) {
			if at >= len(rest) || rest[at] != '-' {
				return sc.bad("want a uuid as 8-4-4-4-12 hexadecimal digits")
			}
			at++
		}
		if at+2 > len(rest) {
			return sc.bad("want a uuid of 36 characters")
		}
		if _, err := hex.Decode(to[i:i+1], []byte(rest[at:at+2])); err != nil {
			return sc.bad("want a uuid as 8-4-4-4-12 hexadecimal digits")
		}
		at += 2
	}
	sc.at += at
	return nil
}

func isTag(c byte, first bool) bool {
	return c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || !first && c >= '0' && c <= '9'
}

func parseTag(sc *scanner) (string, error) {
	start := sc.at
	for isTag(sc.peek(), sc.at == start) {
		sc.at++
	}
	if tag := sc.text[start:sc.at]; len(tag) <= maxTag {
		return strings.ToLower(tag), nil
	}
	sc.at = start
	return "", sc.bad("a tag has at most 32 characters")
}

func parseRun(sc *scanner) (run, error) {
	start := sc.at
	lo, err := sc.number("a transaction number", maxNumber)
	if err != nil {
		return run{}, err
	}
	if lo == 0 {
		sc.at = start
		return run{}, sc.bad("transaction numbers begin at 1")
	}
	if !sc.take('-') {
		return run{lo, lo}, nil
	}
	hi, err := sc.number("the last number of an interval", maxNumber)
	return run{lo, hi}, err
}

// normal sorts sources and merges what belongs together.
func normal(all []source) []source {
	slices.SortStableFunc(all, source.compare)
	var out []source
	for _, s := range all {
		if n := len(out); n > 0 && out[n-1].compare(s) == 0 {
			out[n-1].runs = append(out[n-1].runs, s.runs...)
		} else {
			out = append(out, s)
		}
	}
	for i := range out {
		out[i].runs = joined(out[i].runs)
	}
	return out
}

// joined sorts runs in place and joins those that touch.
func joined(rs []run) []run {
	slices.SortFunc(rs, func(a, b run) int { return cmp.Compare(a.lo, b.lo) })
	out := rs[:0]
	for _, r := range rs {
		if n := len(out); n > 0 && r.lo <= out[n-1].hi+1 {
			out[n-1].hi = max(out[n-1].hi, r.hi)
		} else {
			out = append(out, r)
		}
	}
	return out
}

func printMySQL(b *strings.Builder, all []source) {
	for i, s := range all {
		switch {
		case i == 0 || all[i-1].uuid != s.uuid:
			if i > 0 {
				b.WriteString(",\n")
			}
			h := hex.EncodeToString(s.uuid[:])
			b.WriteString(h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:])
			if s.tag != "" {
				b.WriteString(":" + s.tag)
			}
		default:
			b.WriteString(":" + s.tag)
		}
		for _, r := range s.runs {
			b.WriteString(":" + strconv.FormatUint(r.lo, 10))
			if r.hi > r.lo {
				b.WriteString("-" + strconv.FormatUint(r.hi, 10))
			}
		}
	}
}

func containsMySQL(s, o []source) bool {
	for _, w := range o {
		i, found := slices.BinarySearchFunc(s, w, source.compare)
		if !found || !covers(s[i].runs, w.runs) {
			return false
		}
	}
	return true
}

// covers reports whether each run of o lies within one of s: they are joined, so one is enough.
func covers(s, o []run) bool {
	for _, w := range o {
		i, found := slices.BinarySearchFunc(s, w.lo, func(r run, lo uint64) int { return cmp.Compare(r.lo, lo) })
		if !found {
			i--
		}
		if i < 0 || s[i].hi < w.hi {
			return false
		}
	}
	return true
}

func unionMySQL(s, o []source) []source {
	if len(s) == 0 {
		return o
	}
	if len(o) == 0 {
		return s
	}
	all := make([]source, 0, len(s)+len(o))
	for _, x := range slices.Concat(s, o) {
		x.runs = slices.Clone(x.runs) // joined works in place
		all = append(all, x)
	}
	return normal(all)
}

func minusMySQL(s, o []source) []source {
	var out []source
	for _, x := range s {
		if i, found := slices.BinarySearchFunc(o, x, source.compare); found {
			x.runs = without(x.runs, o[i].runs)
		}
		if len(x.runs) > 0 {
			out = append(out, x)
		}
	}
	return out
}

// without returns what of s is not in o, in one pass over both.
func without(s, o []run) []run {
	var out []run
	for _, r := range s {
		for len(o) > 0 && o[0].hi < r.lo {
			o = o[1:]
		}
		left := true
		for _, x := range o {
			if x.lo > r.hi {
				break
			}
			if x.lo > r.lo {
				out = append(out, run{r.lo, x.lo - 1})
			}
			if x.hi >= r.hi {
				left = false
				break
			}
			r.lo = x.hi + 1
		}
		if left {
			out = append(out, r)
		}
	}
	return out
}

func countMySQL(s []source) (n uint64) {
	for _, x := range s {
		for _, r := range x.runs {
			n = addCapped(n, r.hi-r.lo+1)
		}
	}
	return n
}
