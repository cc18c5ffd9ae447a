package plane

import (
	"fmt"
	"regexp"
	"strings"

	"kaname.dev/kaname/fault"
)

// The subjects of the plane, version 1. A host h (written by hostToken) may
//
//	publish    kn.v1.hb.<h>          its heartbeats
//	           kn.v1.ev.<h>.<topic>  its events, which a core stores and answers
//	           kn.v1.fr.<h>.<call>   the frames that answer a call
//	           kn.v1.ask.<h>.<name>  its questions to the cores
//	subscribe  kn.v1.host.<h>.>      the signed commands for it
//	           kn.v1.all.>           what cores say to all hosts
//	           _INBOX.<h>.>          replies to it
//
// and nothing else. Only cores touch the store:
//
//	kn.v1.doc.<bucket>.<key>    stream DOC, the last message of each subject is kept
//	kn.v1.log.<h>.<topic>       stream EV
//	kn.v1.audit.<h>.<topic>     stream AUDIT
const (
	subjectHeartbeat = "kn.v1.hb."
	subjectEvent     = "kn.v1.ev."
	subjectFrame     = "kn.v1.fr."
	subjectAsk       = "kn.v1.ask."
	subjectHost      = "kn.v1.host."
	subjectAll       = "kn.v1.all."
	subjectDoc       = "kn.v1.doc."
	subjectLog       = "kn.v1.log."
	subjectAudit     = "kn.v1.audit."
	subjectNote      = "kn.v1.note." // a core has written to the stream of that name
	inboxPrefix      = "_INBOX."
)

var (
	hostName  = regexp.MustCompile(`^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$`)
	topicName = regexp.MustCompile(`^[a-z0-9_-]+(\.[a-z0-9_-]+)*$`)
)

// checkHost returns an Invalid fault unless name can be a host's name: a host
// name in the sense of RFC 1123, lower case, without an empty label.
func checkHost(name string) error {
	if !hostName.MatchString(name) || strings.Contains(name, "..") {
		return fault.Invalid(fmt.Sprintf("%q is not a host name", name)).
			Try("use lower-case letters, digits, hyphens and dots")
	}
	return nil
}

// hostToken writes a host's name as one token of a subject. Host names have no
// underscore, so nothing collides.
func hostToken(host string) string { return strings.ReplaceAll(host, ".", "_") }

// hostOfToken is the inverse of hostToken.
func hostOfToken(token string) string { return strings.ReplaceAll(token, "_", ".") }

// keyToken writes any key as one token of a subject, in the manner of
// percent-encoding (RFC 3986): what has a meaning in subjects is escaped.
func keyToken(key string) string {
	var b strings.Builder
	for i := range len(key) {
		switch c := key[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', strings.IndexByte("-_/=+:@,~", c) >= 0:
			b.WriteByte(c)
		default:
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}

// keyOfToken is the inverse of keyToken.
func keyOfToken(token string) string {
	var b strings.Builder
	for i := 0; i < len(token); i++ {
		var c byte
		if token[i] == '%' && i+2 < len(token) {
			if _, err := fmt.Sscanf(token[i+1:i+3], "%02X", &c); err == nil {
				b.WriteByte(c)
				i += 2
				continue
			}
		}
		b.WriteByte(token[i])
	}
	return b.String()
}
