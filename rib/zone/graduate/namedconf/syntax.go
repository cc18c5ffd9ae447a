package namedconf

import (
	"errors"
	"fmt"
	"strings"
)

// Limits of what is read. A named.conf of a million zones stays below all of them.
const (
	maxDepth    = 64        // of nested blocks; named.conf needs seven
	maxBytes    = 512 << 20 // of all files together
	maxFiles    = 10000     // read by includes
	maxIncludes = 16        // includes inside includes
)

// Place is where a statement stands: a file and a line, counted from 1. Of what
// named-checkconf printed, the file is its name.
type Place struct {
	File string `json:"file,omitempty"`
	Line int    `json:"line,omitempty"`
}

// String writes the place as compilers do.
func (p Place) String() string { return fmt.Sprintf("%s:%d", p.File, p.Line) }

// Item is one word of a statement, or one block.
type Item struct {
	Text    string
	Quoted  bool
	IsBlock bool
	Block   []Statement
}

// Statement is what stands before a semicolon. Blocks stand at their places among
// the words, since some statements have several, or words behind one.
type Statement struct {
	Items []Item
	At    Place
}

// Word returns the i-th item when it is a word, "" otherwise.
func (s Statement) Word(i int) string {
	if i >= len(s.Items) || s.Items[i].IsBlock {
		return ""
	}
	return s.Items[i].Text
}

// Block returns the first block of the statement; ok tells an empty one from none.
func (s Statement) Block() (list []Statement, ok bool) {
	for _, it := range s.Items {
		if it.IsBlock {
			return it.Block, true
		}
	}
	return nil, false
}

// Text writes the words of the statement in one line, blocks as "{ … }" with their
// statements. Secrets are left out.
func (s Statement) Text() string {
	var b strings.Builder
	for i, it := range s.Items {
		if i > 0 {
			b.WriteByte(' ')
		}
		switch {
		case i == 1 && strings.EqualFold(s.Word(0), "secret"):
			b.WriteString("***")
		case !it.IsBlock:
			b.WriteString(it.Text)
		default:
			b.WriteString("{ ")
			for _, in := range it.Block {
				b.WriteString(in.Text())
				b.WriteString("; ")
			}
			b.WriteByte('}')
		}
	}
	return b.String()
}

// scanner cuts one file into tokens.
type scanner struct {
	text string
	file string
	at   int
	line int
}

type token byte

const (
	tokenEnd token = iota
	tokenWord
	tokenQuoted
	tokenOpen
	tokenClose
	tokenSemicolon
)

func (s *scanner) place() Place { return Place{s.file, s.line} }

// errorf makes an error that names where the scanner stands.
func (s *scanner) errorf(format string, args ...any) error {
	return fmt.Errorf("%s: "+format, append([]any{s.place()}, args...)...)
}

func (s *scanner) next() (token, string, error) {
	if err := s.space(); err != nil {
		return tokenEnd, "", err
	}
	if s.at >= len(s.text) {
		return tokenEnd, "", nil
	}
	c := s.text[s.at]
	switch c {
	case '{':
		s.at++
		return tokenOpen, "", nil
	case '}':
		s.at++
		return tokenClose, "", nil
	case ';':
		s.at++
		return tokenSemicolon, "", nil
	case '"':
		return s.quoted()
	case 0:
		return tokenEnd, "", s.errorf("octet 0 in the file: it is no named.conf, or is damaged; restore it")
	case '!': // a token of its own, so that "! x" and "!x" are the same
		s.at++
		return tokenWord, "!", nil
	}
	start := s.at
	for s.at < len(s.text) && !ends(s.text[s.at]) && s.comment() == commentNone {
		s.at++
	}
	return tokenWord, s.text[start:s.at], nil
}

// ends reports whether a bare word ends before the octet.
func ends(c byte) bool {
	switch c {
	case ' ', '\t', '\r', '\n', '\f', '\v', '{', '}', ';', '"', 0:
		return true
	}
	return false
}

// quoted reads to the closing quote: \" stands for a quote, other escapes stay, as
// in named's own scanner.
func (s *scanner) quoted() (token, string, error) {
	begin := s.place()
	var b strings.Builder
	for s.at++; s.at < len(s.text); s.at++ {
		c := s.text[s.at]
		switch {
		case c == '"':
			s.at++
			return tokenQuoted, b.String(), nil
		case c == '\n':
			s.line++
		case c == '\\' && s.at+1 < len(s.text):
			s.at++
			if s.text[s.at] == '\n' {
				s.line++
			}
			if s.text[s.at] != '"' {
				b.WriteByte('\\')
			}
			c = s.text[s.at]
		}
		b.WriteByte(c)
	}
	return tokenEnd, "", fmt.Errorf("%s: the quote that begins here has no end; close it with \"", begin)
}

type comment byte

const (
	commentNone comment = iota
	commentLine
	commentBlock
)

// comment tells what kind of comment begins at the scanner.
func (s *scanner) comment() comment {
	switch c := s.text[s.at]; {
	case c == '#':
		return commentLine
	case c != '/' || s.at+1 >= len(s.text):
		return commentNone
	case s.text[s.at+1] == '/':
		return commentLine
	case s.text[s.at+1] == '*':
		return commentBlock
	}
	return commentNone
}

// space skips white space and comments.
func (s *scanner) space() error {
	for s.at < len(s.text) {
		switch s.text[s.at] {
		case '\n':
			s.line++
			s.at++
			continue
		case ' ', '\t', '\r', '\f', '\v':
			s.at++
			continue
		}
		end := len(s.text)
		switch s.comment() {
		case commentNone:
			return nil
		case commentLine:
			if n := strings.IndexByte(s.text[s.at:], '\n'); n >= 0 {
				end = s.at + n
			}
		case commentBlock:
			n := strings.Index(s.text[s.at+2:], "*/")
			if n < 0 {
				return s.errorf("the comment that begins here has no end; close it with */")
			}
			end = s.at + 2 + n + 2
		}
		s.line += strings.Count(s.text[s.at:end], "\n")
		s.at = end
	}
	return nil
}

// Parse reads statements from one text; file names it in places and errors. An
// include statement is left as it is.
func Parse(file, text string) ([]Statement, error) {
	p := parser{scanner: scanner{text: text, file: file, line: 1}}
	return p.block(0)
}

// parser reads the statements of one file.
type parser struct {
	scanner
	// include returns the statements that take the place of an include statement;
	// nil leaves the statement.
	include func(st Statement, depth int) ([]Statement, error)
	seen    func(st Statement) // every statement at the top and one below, as it is complete; may be nil
}

// block reads statements up to the closing brace, at depth 0 to the end.
func (p *parser) block(depth int) ([]Statement, error) {
	if depth > maxDepth {
		return nil, p.errorf("blocks are nested more than %d deep; no statement of named.conf needs that", maxDepth)
	}
	begin := p.place()
	var list []Statement
	var st Statement
	for {
		kind, text, err := p.next()
		if err != nil {
			return nil, err
		}
		if len(st.Items) == 0 {
			st.At = p.place()
		}
		switch kind {
		case tokenWord, tokenQuoted:
			st.Items = append(st.Items, Item{Text: text, Quoted: kind == tokenQuoted})
		case tokenOpen:
			inner, err := p.block(depth + 1)
			if err != nil {
				return nil, err
			}
			st.Items = append(st.Items, Item{IsBlock: true, Block: inner})
		case tokenSemicolon:
			if list, err = p.finish(list, st, depth); err != nil {
				return nil, err
			}
			st = Statement{}
		case tokenClose, tokenEnd:
			if err := p.closed(st, kind, depth, begin); err != nil {
				return nil, err
			}
			return list, nil
		}
	}
}

// closed looks whether a block may end here.
func (p *parser) closed(st Statement, kind token, depth int, begin Place) error {
	switch {
	case kind == tokenEnd && depth > 0:
		return fmt.Errorf("%s: the block that begins here has no end; close it with };", begin)
	case kind == tokenClose && depth == 0:
		return p.errorf("a closing brace without an opening one; remove it")
	case len(st.Items) > 0:
		return fmt.Errorf("%s: no semicolon after %q; add it", p.place(), clip(st.Text()))
	}
	return nil
}

// finish adds a complete statement to its list, or what it includes.
func (p *parser) finish(list []Statement, st Statement, depth int) ([]Statement, error) {
	if len(st.Items) == 0 {
		return list, nil // an empty statement is allowed
	}
	if p.include != nil && strings.EqualFold(st.Word(0), "include") {
		if len(st.Items) != 2 || st.Word(1) == "" {
			return nil, fmt.Errorf("%s: include takes one file name; write include \"file\";", st.At)
		}
		more, err := p.include(st, depth)
		if err != nil {
			return nil, err
		}
		return append(list, more...), nil
	}
	if p.seen != nil && depth <= 1 {
		p.seen(st)
	}
	return append(list, st), nil
}

// clip shortens a text for an error.
func clip(s string) string {
	if len(s) > 60 {
		return s[:57] + "..."
	}
	return s
}

var errEmpty = errors.New("has no statements; name the main configuration file of named")
