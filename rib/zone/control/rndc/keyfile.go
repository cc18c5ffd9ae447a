package rndc

import (
	"encoding/base64"
	"fmt"
	"os"
	"strings"

	"kaname.dev/kaname/rib/zone/control/rndc/conf"
)

// maxKeyFile bounds what is read as a key file, in octets.
const maxKeyFile = 1 << 20

// ReadKey reads the first key of a file in the syntax of named.conf, as rndc.key has
// it; with keyName that key. It does not follow includes. Errors never hold the
// secret.
func ReadKey(path, keyName string) (Key, error) {
	f, err := os.Open(path) //nolint:gosec // the path is the operator's
	if err != nil {
		return Key{}, fmt.Errorf("rndc key: %w; give the path of the key that named's controls allow", err)
	}
	defer f.Close() //nolint:errcheck // only read
	b := make([]byte, maxKeyFile)
	n, err := readSome(f, b)
	if err != nil {
		return Key{}, fmt.Errorf("rndc key %s: %w", path, err)
	}
	k, err := parseKey(string(b[:n]), keyName)
	if err != nil {
		return Key{}, fmt.Errorf("rndc key %s: %w", path, err)
	}
	return k, nil
}

func parseKey(text, keyName string) (Key, error) {
	list, err := conf.Parse(text)
	if err != nil {
		return Key{}, err
	}
	for _, st := range list {
		if st.Word(0) != "key" || keyName != "" && st.Word(1) != keyName {
			continue
		}
		algorithm, _ := st.Find("algorithm")
		secret, _ := st.Find("secret")
		k := Key{Algorithm: strings.ToLower(algorithm.Word(1))}
		if _, known := algorithms[k.Algorithm]; !known {
			return Key{}, fmt.Errorf("key %q has the algorithm %q; make one of hmac-sha256 with rndc-confgen -a", st.Word(1), k.Algorithm)
		}
		if k.Secret, err = base64.StdEncoding.DecodeString(secret.Word(1)); err != nil || len(k.Secret) == 0 {
			return Key{}, fmt.Errorf("the secret of key %q is not base64; copy the file again", st.Word(1))
		}
		return k, nil
	}
	return Key{}, fmt.Errorf("no key %s is in it; it should hold: key \"rndc-key\" { algorithm hmac-sha256; secret \"...\"; };", keyName)
}
