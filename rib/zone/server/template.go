package server

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
)

// ID identifies the template's contents for one kind of server: its name, a dash and eight hex
// digits. Letters, digits and '-' only, so it can stand in any server's configuration.
func (t Template) ID(kind string) string {
	seen := struct {
		Primaries []Primary
		Transfer  []string
		Options   string
	}{t.Primaries, t.Transfer, t.Options[kind]}
	b, err := json.Marshal(seen)
	if err != nil {
		panic(err) // a struct of strings and addresses
	}
	sum := sha256.Sum256(b)
	return t.Name + "-" + hex.EncodeToString(sum[:4])
}
