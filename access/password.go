package access

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"strings"
	"unicode/utf8"

	"golang.org/x/crypto/argon2"

	"kaname.dev/kaname/fault"
)

// The cost of argon2id: the second recommended option of RFC 9106 §4.
const (
	argonTime    = 3
	argonMemory  = 64 << 10 // KiB
	argonThreads = 4
	argonKey     = 32 // bytes
	argonSalt    = 16 // bytes
)

// Passwords are between these lengths, in bytes; the upper one keeps a stranger
// from making the hash expensive.
const (
	minPassword = 10
	maxPassword = 1024
)

func checkPassword(p string) error {
	switch {
	case len(p) < minPassword:
		return fault.Invalid(fmt.Sprintf("password is too short: %d characters, at least %d are needed", utf8.RuneCountInString(p), minPassword))
	case len(p) > maxPassword:
		return fault.Invalid(fmt.Sprintf("password is too long: %d bytes, at most %d are allowed", len(p), maxPassword))
	}
	return nil
}

// hashPassword returns the password in the PHC string format.
func hashPassword(p string) string {
	salt := make([]byte, argonSalt)
	_, _ = rand.Read(salt) // never fails since Go 1.24
	sum := argon2.IDKey([]byte(p), salt, argonTime, argonMemory, argonThreads, argonKey)
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, argonMemory, argonTime, argonThreads,
		base64.RawStdEncoding.EncodeToString(salt), base64.RawStdEncoding.EncodeToString(sum))
}

// matchPassword reports whether the password is the one behind the hash. A hash
// that it cannot read matches nothing, after the same time.
func matchPassword(hash, p string) bool {
	var version int
	var memory, passes uint32
	var threads uint8
	parts := strings.Split(hash, "$")
	if len(parts) != 6 || parts[1] != "argon2id" {
		hash, parts = "", strings.Split(hashOfNothing, "$")
	}
	if _, err := fmt.Sscanf(parts[2]+" "+parts[3], "v=%d m=%d,t=%d,p=%d", &version, &memory, &passes, &threads); err != nil || memory > 1<<20 || passes == 0 || threads == 0 {
		return false
	}
	salt, err := base64.RawStdEncoding.DecodeString(parts[4])
	if err != nil {
		return false
	}
	want, err := base64.RawStdEncoding.DecodeString(parts[5])
	if err != nil || len(want) == 0 {
		return false
	}
	got := argon2.IDKey([]byte(p), salt, passes, memory, threads, uint32(len(want)))
	return subtle.ConstantTimeCompare(got, want) == 1 && hash != ""
}

// hashOfNothing is compared with when a name does not exist, so that the answer
// takes as long as for one that does.
const hashOfNothing = "$argon2id$v=19$m=65536,t=3,p=4$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
