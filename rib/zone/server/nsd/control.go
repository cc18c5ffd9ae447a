package nsd

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"kaname.dev/kaname/rib/zone/server"
)

// What nsd-control and nsd say to each other, nsd-control(8): a line with the version
// and the command; of commands in bulk lines follow, ended by end of transmission;
// the reply lasts until the connection ends.
const (
	greeting = "NSDCT1 "
	over     = "\x04\n"
)

// zoneStatus lists all zones.
const zoneStatus = "zonestatus"

const (
	controlPort = "8952"           // of remote-control in nsd.conf(5)
	patience    = 30 * time.Second // of a call whose context has no deadline
	replyLimit  = 256 << 20        // octets
)

// control is nsd's command channel. A connection carries one command.
type control struct {
	network, address string
	tls              *tls.Config // nil over a unix socket
}

// newControl takes a socket's path, or host:port and the directory that
// nsd-control-setup filled.
func newControl(address, certDir string) (control, error) {
	if strings.HasPrefix(address, "/") {
		return control{network: "unix", address: address}, nil
	}
	if _, _, err := net.SplitHostPort(address); err != nil {
		address = net.JoinHostPort(address, controlPort)
	}
	if certDir == "" {
		certDir = "/etc/nsd"
	}
	pair, err := tls.LoadX509KeyPair(filepath.Join(certDir, "nsd_control.pem"), filepath.Join(certDir, "nsd_control.key"))
	if err != nil {
		return control{}, fmt.Errorf("client certificate of nsd-control: %w; run nsd-control-setup, and let kaname read what it makes", err)
	}
	text, err := os.ReadFile(filepath.Join(certDir, "nsd_server.pem")) //nolint:gosec // the configured directory
	if err != nil {
		return control{}, fmt.Errorf("certificate of nsd: %w", err)
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return control{}, fmt.Errorf("certificate of nsd in %s is not PEM; run nsd-control-setup", certDir)
	}
	return control{network: "tcp", address: address, tls: &tls.Config{
		Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12,
		// The server's certificate is one that was made on the spot: it is known, and
		// nothing else is to be trusted.
		InsecureSkipVerify: true, //nolint:gosec // pinned below
		VerifyConnection: func(c tls.ConnectionState) error {
			if len(c.PeerCertificates) == 0 || !bytes.Equal(c.PeerCertificates[0].Raw, block.Bytes) {
				return errors.New("it shows another certificate than nsd_server.pem")
			}
			return nil
		},
	}}, nil
}

// do runs a command and returns nsd's reply; body are its lines, each with its end.
func (c control) do(ctx context.Context, command string, body []string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	reply, err := c.exchange(ctx, command, body)
	if ctx.Err() != nil && err != nil {
		return "", fmt.Errorf("%w: nsd at %s: %w", server.ErrUnreachable, c.address, ctx.Err())
	}
	if err != nil {
		return "", fmt.Errorf("%w: nsd at %s: %w", kindOf(err), c.address, err)
	}
	return reply, nil
}

// kindOf finds an error of the channel its place among package server's.
func kindOf(err error) error {
	var alert tls.AlertError
	var verify *tls.CertificateVerificationError
	if errors.Is(err, fs.ErrPermission) || errors.As(err, &alert) || errors.As(err, &verify) ||
		strings.Contains(err.Error(), "certificate") || strings.Contains(err.Error(), "tls: ") {
		return server.ErrDenied
	}
	return server.ErrUnreachable
}

func (c control) exchange(ctx context.Context, command string, body []string) (string, error) {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, c.network, c.address)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if c.tls != nil {
		secure := tls.Client(conn, c.tls)
		if err := secure.HandshakeContext(ctx); err != nil {
			return "", err
		}
		conn = secure
	}
	// nsd answers line by line and stops reading when nobody takes its answers, so
	// one side writes while the other reads.
	wrote := make(chan error, 1)
	go func() { wrote <- send(conn, command, body) }()
	reply, err := io.ReadAll(io.LimitReader(conn, replyLimit))
	if err != nil || len(reply) == 0 {
		_ = conn.SetDeadline(time.Unix(1, 0)) // the writer ends, too
	}
	if werr := <-wrote; err == nil && werr != nil && len(reply) == 0 {
		err = werr
	}
	if err != nil {
		return "", err
	}
	if len(reply) == 0 && command != zoneStatus { // which prints nothing where there is nothing
		return "", errors.New("it closes the connection without an answer")
	}
	return string(reply), nil
}

func send(w io.Writer, command string, body []string) error {
	var b bytes.Buffer
	b.WriteString(greeting + command + "\n")
	for _, line := range body {
		b.WriteString(line)
	}
	if body != nil {
		b.WriteString(over)
	}
	_, err := w.Write(b.Bytes())
	return err
}

// refusal returns what nsd says in a reply that begins with "error", "" for others.
func refusal(reply string) string {
	if text, ok := strings.CutPrefix(strings.TrimSpace(reply), "error"); ok {
		return strings.TrimSpace(text)
	}
	return ""
}
