package mysql

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"strings"
)

// readAccount reads an account from a file as my.cnf has it: lines "user=" and "password="
// below [client], or below no section at all. Values may stand in quotes; lines that begin with '#' or
// ';' are comments. A file that others can read is refused.
func readAccount(path string) (user, password string, err error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", "", err
	}
	if info.Mode().Perm()&0o007 != 0 {
		return "", "", fmt.Errorf("%s can be read by everybody (mode %04o): chmod 600 %s", path, info.Mode().Perm(), path)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return "", "", err
	}
	section := "client"
	for lines := bufio.NewScanner(bytes.NewReader(data)); lines.Scan(); {
		line := strings.TrimSpace(lines.Text())
		if name, ok := strings.CutPrefix(line, "["); ok {
			section, _, _ = strings.Cut(name, "]")
			continue
		}
		key, value, ok := strings.Cut(line, "=")
		if !ok || section != "client" || strings.HasPrefix(line, "#") || strings.HasPrefix(line, ";") {
			continue
		}
		value = unquote(strings.TrimSpace(value))
		switch strings.TrimSpace(key) {
		case "user":
			user = value
		case "password":
			password = value
		}
	}
	if user == "" {
		return "", "", fmt.Errorf("%s names no user: write \"user=…\" and \"password=…\" below [client]", path)
	}
	return user, password, nil
}

func unquote(s string) string {
	for _, q := range []string{`"`, `'`} {
		if len(s) >= 2 && strings.HasPrefix(s, q) && strings.HasSuffix(s, q) {
			return s[1 : len(s)-1]
		}
	}
	return s
}

// readCA returns how servers whose certificates are of this CA are reached by TLS, without
// regard to their names: they are known by addresses. An empty path means no TLS.
func readCA(path string) (*tls.Config, error) {
	if path == "" {
		return nil, nil //nolint:nilnil // no TLS
	}
	pem, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s holds no certificate in PEM", path)
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS12, RootCAs: pool,
		InsecureSkipVerify: true, //nolint:gosec // the chain is verified below; only the name is not
		VerifyConnection: func(cs tls.ConnectionState) error {
			o := x509.VerifyOptions{Roots: pool, Intermediates: x509.NewCertPool()}
			for _, c := range cs.PeerCertificates[1:] {
				o.Intermediates.AddCert(c)
			}
			_, err := cs.PeerCertificates[0].Verify(o)
			return err
		},
	}, nil
}
