package mha

import (
	"errors"
	"strings"
)

// Words takes a command line apart as a shell does: white space parts words, single quotes keep
// everything, double quotes keep all but the backslash, which keeps the next character.
// Nothing is expanded. It fails on quotes that do not end.
func Words(text string) ([]string, error) {
	var words []string
	var word strings.Builder
	inWord := false
	var quote rune
	escaped := false
	for _, r := range text {
		switch {
		case escaped:
			if r != '\n' {
				word.WriteRune(r)
			}
			escaped = false
		case r == '\\' && quote != '\'':
			escaped, inWord = true, true
		case quote != 0:
			if r == quote {
				quote = 0
			} else {
				word.WriteRune(r)
			}
		case r == '\'' || r == '"':
			quote, inWord = r, true
		case strings.ContainsRune(" \t\r\n", r):
			if inWord {
				words = append(words, word.String())
				word.Reset()
			}
			inWord = false
		default:
			word.WriteRune(r)
			inWord = true
		}
	}
	if quote != 0 || escaped {
		return nil, errors.New("a quote does not end in the command line")
	}
	if inWord {
		words = append(words, word.String())
	}
	return words, nil
}
