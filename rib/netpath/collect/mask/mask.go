// Package mask takes secrets out of what is collected: arguments of processes, settings,
// texts. It looks at the names of values, not at the values.
package mask

import (
	"maps"
	"regexp"
	"strings"
)

// Hidden stands in the place of a secret.
const Hidden = "***"

// words are parts of names whose values are secret, in lower case, without "-" and "_".
var words = []string{"password", "passwd", "passphrase", "secret", "token", "psk", "privatekey", "credential", "apikey", "authkey", "accesskey", "community"}

// Secret reports whether the value of that name is one to hide.
func Secret(name string) bool {
	name = strings.TrimRight(strings.ToLower(name), "-_. ")
	switch last := name[strings.LastIndexAny(name, "-_. ")+1:]; last {
	case "pass", "pwd":
		return true
	}
	name = strings.NewReplacer("-", "", "_", "", ".", "", " ", "").Replace(name)
	for _, w := range words {
		if strings.Contains(name, w) {
			return true
		}
	}
	return false
}

var (
	// login is the user's part of a URL: scheme://user:password@host.
	login = regexp.MustCompile(`([A-Za-z][A-Za-z0-9+.-]*://[^/\s:@"]*:)[^/\s@"]+@`)
	// pair is name=value, name: value, "name": "value"; the value ends where it is quoted to,
	// or at a space or comma.
	pair = regexp.MustCompile(`([A-Za-z0-9_.-]*(?i:pass|pwd|secret|token|psk|private|credential|key|community)[A-Za-z0-9_.-]*)(\\?["']?\s*[=:]\s*)(\\?"[^"]*"?|'[^']*'?|[^\s,"'&;)}\]]+)`)
)

// Args returns the arguments of a process without secrets: those after an option that is
// one, and those in name=value and in URLs.
func Args(args []string) []string {
	out := make([]string, len(args))
	next := false
	for i, a := range args {
		switch {
		case next && !strings.HasPrefix(a, "-"):
			out[i], next = Hidden, false
			continue
		default:
			out[i] = Text(a)
		}
		name, _, valued := strings.Cut(a, "=")
		next = !valued && strings.HasPrefix(a, "-") && Secret(name)
		if valued && Secret(name) && !strings.ContainsAny(name, " \n") {
			out[i] = name + "=" + Hidden
		}
	}
	return out
}

// Map returns settings without the values of those whose names are of secrets. A map
// without any is returned as it is.
func Map(m map[string]string) map[string]string {
	var out map[string]string
	for k, v := range m {
		hidden := Text(v)
		if Secret(k) {
			hidden = Hidden
		}
		if hidden == v {
			continue
		}
		if out == nil {
			out = make(map[string]string, len(m))
			maps.Copy(out, m)
		}
		out[k] = hidden
	}
	if out == nil {
		return m
	}
	return out
}

// Text returns a text without the values in it that look like secrets: name=value,
// name: value, JSON, URLs with passwords.
func Text(s string) string {
	if !Suspect(s) {
		return s
	}
	s = login.ReplaceAllString(s, "${1}"+Hidden+"@")
	return pair.ReplaceAllStringFunc(s, func(found string) string {
		part := pair.FindStringSubmatch(found)
		if !Secret(part[1]) {
			return found
		}
		return part[1] + part[2] + Hidden
	})
}

// roots are what pair and login look for, by the first letter.
var roots = [256][]string{
	'p': {"pass", "pwd", "psk", "private"}, 's': {"secret"}, 't': {"token"},
	'c': {"credential", "community"}, 'k': {"key"}, ':': {"://"},
}

// Suspect is quick and says yes too often: texts of megabytes without a secret must not
// cost an expression.
func Suspect(s string) bool {
	for i := range len(s) {
		c := s[i]
		if 'A' <= c && c <= 'Z' {
			c |= 0x20
		}
		for _, root := range roots[c] {
			if len(s)-i >= len(root) && strings.EqualFold(s[i:i+len(root)], root) {
				return true
			}
		}
	}
	return false
}
