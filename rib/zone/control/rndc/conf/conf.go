// Package conf reads the syntax of named.conf: what named-checkconf -p prints, what
// rndc showzone answers, the key files of rndc, the NZF files of added zones
// (BIND 9 Administrator Reference Manual, section 8.1). It knows no statement's
// meaning.
package conf

import (
	"errors"
	"fmt"
	"strings"
)

// maxDepth bounds the nesting of blocks; named.conf needs seven.
const maxDepth = 40

// Word is one word of a statement.
type Word struct {
	Text   string
	Quoted bool
}

// Statement is what stands before a semicolon: words, and at the places of blocks
// their statements. The words before the first block are in Words, those behind
// blocks too.
type Statement struct {
	Words []Word
	Block []Statement // of the last block, nil when there is none
	Has   bool        // there is a block, maybe an empty one
}

// Word returns the text of the i-th word, "" when there are fewer.
func (s Statement) Word(i int) string {
	if i >= len(s.Words) {
		return ""
	}
	return s.Words[i].Text
}

// Find returns the first statement of the block that begins with the word.
func (s Statement) Find(word string) (Statement, bool) { return Find(s.Block, word) }

// Find returns the first statement that begins with the word.
func Find(list []Statement, word string) (Statement, bool) {
	for _, st := range list {
		if st.Word(0) == word {
			return st, true
		}
	}
	return Statement{}, false
}

// Parse reads statements to the end of the text. The error names the line.
func Parse(text string) ([]Statement, error) {
	p := &parser{text: text, line: 1}
	list, err := p.block(0)
	if err != nil {
		return nil, fmt.Errorf("line %d: %w", p.line, err)
	}
	return list, nil
}

// Quote writes a text as one quoted word. Backslashes pass through; what would end
// the word, or a line, is refused.
func Quote(s string) (string, error) {
	for i := range len(s) {
		if c := s[i]; c == '"' || c < ' ' || c == 0x7f {
			return "", fmt.Errorf("octet %d of %q cannot stand in quotes", i, s)
		}
	}
	if strings.HasSuffix(s, `\`) {
		return "", fmt.Errorf("%q ends in a backslash, which cannot stand in quotes", s)
	}
	return `"` + s + `"`, nil
}

// Check reports whether text is complete statements that can stand inside a block:
// they do not end it, open none that stays open, and have no comments.
func Check(text string) error {
	p := &parser{text: text, line: 1, strict: true}
	_, err := p.block(0)
	return err
}

type parser struct {
	text   string
	at     int
	line   int
	strict bool // no comments
}

// kinds of tokens; words and quotes carry a text.
const (
	tokenEnd = iota
	tokenWord
	tokenQuoted
	tokenOpen
	tokenClose
	tokenSemicolon
)

// block reads statements up to a closing brace, or to the end at depth 0.
func (p *parser) block(depth int) ([]Statement, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("blocks are nested more than %d deep", maxDepth)
	}
	var list []Statement
	var st Statement
	for {
		kind, text, err := p.next()
		if err != nil {
			return nil, err
		}
		switch kind {
		case tokenWord, tokenQuoted:
			st.Words = append(st.Words, Word{Text: text, Quoted: kind == tokenQuoted})
		case tokenOpen:
			if st.Block, err = p.block(depth + 1); err != nil {
				return nil, err
			}
			st.Has = true
		case tokenSemicolon:
			if len(st.Words) > 0 || st.Has {
				list = append(list, st)
			}
			st = Statement{}
		case tokenClose, tokenEnd:
			if len(st.Words) > 0 || st.Has {
				return nil, fmt.Errorf("no semicolon after %q", st.Word(0))
			}
			if (kind == tokenEnd) != (depth == 0) {
				return nil, fmt.Errorf("braces do not match at depth %d", depth)
			}
			return list, nil
		}
	}
}

func (p *parser) next() (kind int, text string, err error) {
	if err := p.space(); err != nil {
		return tokenEnd, "", err
	}
	if p.at >= len(p.text) {
		return tokenEnd, "", nil
	}
	switch c := p.text[p.at]; c {
	case '{', '}', ';':
		p.at++
		return map[byte]int{'{': tokenOpen, '}': tokenClose, ';': tokenSemicolon}[c], "", nil
	case '"':
		return p.quoted()
	}
	start := p.at
	for p.at < len(p.text) && !strings.ContainsRune(" \t\r\n{};\"", rune(p.text[p.at])) {
		if p.comment() != "" {
			break
		}
		p.at++
	}
	return tokenWord, p.text[start:p.at], nil
}

// quoted reads to the closing quote; \" stands for a quote, other escapes stay.
func (p *parser) quoted() (int, string, error) {
	var b strings.Builder
	for i := p.at + 1; i < len(p.text); i++ {
		switch c := p.text[i]; {
		case c == '"':
			p.at = i + 1
			return tokenQuoted, b.String(), nil
		case c == '\n':
			return tokenEnd, "", errors.New("a quote has no end on its line")
		case c == '\\' && i+1 < len(p.text) && p.text[i+1] == '"':
			b.WriteByte('"')
			i++
		case c == '\\' && i+1 < len(p.text) && p.text[i+1] == '\\':
			b.WriteString(`\\`)
			i++
		default:
			b.WriteByte(c)
		}
	}
	return tokenEnd, "", errors.New("a quote has no end")
}

// space skips white space and comments.
func (p *parser) space() error {
	for p.at < len(p.text) {
		switch c := p.text[p.at]; c {
		case '\n':
			p.line++
			p.at++
		case ' ', '\t', '\r':
			p.at++
		default:
			end := p.comment()
			if end == "" {
				return nil
			}
			if p.strict {
				return errors.New("a comment is not allowed here")
			}
			n := strings.Index(p.text[p.at+1:], end)
			if n < 0 && end == "*/" {
				return errors.New("a comment has no end")
			}
			if n < 0 {
				p.at = len(p.text)
				return nil
			}
			stop := p.at + 1 + n
			if end == "*/" {
				stop += len(end)
			}
			p.line += strings.Count(p.text[p.at:stop], "\n")
			p.at = stop
		}
	}
	return nil
}

// comment returns what ends the comment that begins here, "" when none does.
func (p *parser) comment() string {
	rest := p.text[p.at:]
	switch {
	case strings.HasPrefix(rest, "/*"):
		return "*/"
	case strings.HasPrefix(rest, "//"), strings.HasPrefix(rest, "#"):
		return "\n"
	}
	return ""
}
