// Package dns runs real name servers for a test: BIND, NSD, Knot DNS and PowerDNS
// from Debian's packages, unprivileged, on loopback, each in a directory of its own.
package dns

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// The TSIG key that all servers of the lab know, hmac-sha256.
const (
	KeyName   = "xfr"
	KeySecret = "a2FuYW1lIGxhYiB0cmFuc2ZlciBrZXksIDI1NiBiaXQ="
)

// Server is one running name server.
type Server struct {
	Kind    string         // bind, nsd, knot, pdns
	Address netip.AddrPort // where it answers DNS, UDP and TCP
	Control string         // where it is controlled, as server.Options.Control wants it
	KeyFile string         // as server.Options.KeyFile wants it
	Config  string         // path of its configuration
	Stats   string         // BIND's statistics channel
	Dir     string

	// AddZones and RemoveZones create and delete zones on a primary, as its operators
	// would in bulk, each with ZoneFile's contents.
	AddZones    func(zones ...string)
	RemoveZones func(zones ...string)

	t    testing.TB
	argv []string

	mu   sync.Mutex
	cmd  *exec.Cmd
	gone chan struct{} // closed when cmd has ended
}

// Options say what a server of the lab is to be. A secondary serves nothing until
// kaname's driver, or a catalog, gives it zones; it is configured as "kaname zone
// setup" would, plus what an unprivileged server on loopback needs.
type Options struct {
	Address netip.AddrPort   // a free one when zero
	Primary bool             // zones are created here
	Notify  []netip.AddrPort // who is told of new zones and contents, at once
	From    []netip.AddrPort // a secondary's primaries; their NOTIFYs are believed
	// Catalogs are catalog zones that a secondary takes from From with the lab's key
	// and consumes itself, without kaname; a primary produces or serves the first.
	Catalogs []string
	Extra    string // lines added to the configuration
	Text     bool   // a knotd that has its configuration as a text file: it forgets what is added
}

// AddressOf returns a free loopback address for a server: 127.0.0.1 and a port that is
// free for UDP and TCP, below those that the kernel takes for outgoing connections, so
// that a server finds it still free, also after a restart.
func AddressOf(t testing.TB) netip.AddrPort {
	t.Helper()
	for range 200 {
		a := netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(12000+rand.IntN(19000)))
		l, err := net.Listen("tcp", a.String())
		if err != nil {
			continue
		}
		u, err := net.ListenPacket("udp", a.String())
		_ = l.Close()
		if err != nil {
			continue
		}
		_ = u.Close()
		return a
	}
	t.Fatal("no port is free for both UDP and TCP")
	return netip.AddrPort{}
}

// dir makes a directory that the unprivileged server may use. t.TempDir's parents
// are closed to others, so it stands beside them.
func dir(t testing.TB, kind string) string {
	t.Helper()
	d, err := os.MkdirTemp("", "kaname-"+kind+"-") //nolint:usetesting // as said above
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(d) })
	return d
}

// own gives a server's directory to the user that it runs as.
func own(t testing.TB, dir string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(path, nobody, nobody)
	})
	if err != nil && os.Geteuid() == 0 {
		t.Fatal(err)
	}
}

// nobody is the user and group that servers run as when the test runs as root.
const nobody = 65534

// start runs the server and arranges that it ends with the test.
func (s *Server) start(argv ...string) {
	s.t.Helper()
	s.argv = argv
	own(s.t, s.Dir)
	s.t.Cleanup(s.Kill)
	s.Start()
}

// Start starts the server, again after Stop or Kill, and waits until it answers DNS.
func (s *Server) Start() {
	s.t.Helper()
	out, err := os.OpenFile(filepath.Join(s.Dir, "out.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		s.t.Fatal(err)
	}
	defer out.Close()
	cmd := exec.Command(s.argv[0], s.argv[1:]...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = s.Dir, out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if os.Geteuid() == 0 {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: nobody, Gid: nobody}
	}
	if err := cmd.Start(); err != nil {
		s.t.Fatalf("%s does not start: %v", s.Kind, err)
	}
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		_ = cmd.Wait()
	}()
	s.mu.Lock()
	s.cmd, s.gone = cmd, gone
	s.mu.Unlock()
	deadline := time.Now().Add(120 * time.Second)
	for !s.answers() {
		select {
		case <-gone:
			s.t.Fatalf("%s ended at once:\n%s", s.Kind, s.Log())
		default:
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("%s does not answer at %s:\n%s", s.Kind, s.Address, s.Log())
		}
		<-time.After(20 * time.Millisecond)
	}
}

// answers reports whether the server answers by UDP, whatever it says: no limit of
// rates holds for the root, as named's does for version.bind.
func (s *Server) answers() bool {
	m := new(dns.Msg)
	m.SetQuestion(".", dns.TypeSOA)
	m.RecursionDesired = false
	c := dns.Client{Timeout: 300 * time.Millisecond}
	ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel()
	_, _, err := c.ExchangeContext(ctx, m, s.Address.String())
	return err == nil
}

// Kill ends the server with SIGKILL, its process group too, and waits.
func (s *Server) Kill() { s.end(syscall.SIGKILL) }

// Stop ends the server with SIGTERM and waits.
func (s *Server) Stop() { s.end(syscall.SIGTERM) }

func (s *Server) end(sig syscall.Signal) {
	s.mu.Lock()
	cmd, gone := s.cmd, s.gone
	s.cmd = nil
	s.mu.Unlock()
	if cmd == nil {
		return
	}
	_ = syscall.Kill(-cmd.Process.Pid, sig)
	select {
	case <-gone:
	case <-time.After(20 * time.Second):
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		<-gone
	}
	// Its children hold the ports until they are gone, too.
	for deadline := time.Now().Add(10 * time.Second); syscall.Kill(-cmd.Process.Pid, 0) == nil && time.Now().Before(deadline); {
		<-time.After(5 * time.Millisecond)
	}
}

// Signal sends a signal to the server's process group: SIGSTOP pauses it.
func (s *Server) Signal(sig syscall.Signal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cmd != nil {
		_ = syscall.Kill(-s.cmd.Process.Pid, sig)
	}
}

// PID returns the server's process, 0 when it does not run.
func (s *Server) PID() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cmd == nil {
		return 0
	}
	return s.cmd.Process.Pid
}

// Log returns the end of what the server has written.
func (s *Server) Log() string {
	b, _ := os.ReadFile(filepath.Join(s.Dir, "out.log"))
	if len(b) > 4000 {
		b = b[len(b)-4000:]
	}
	return string(b)
}

// write puts a file into the server's directory.
func (s *Server) write(file, text string) {
	s.t.Helper()
	path := filepath.Join(s.Dir, file)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		s.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		s.t.Fatal(err)
	}
}

// ZoneFile returns a small zone whose names are relative, so that one file can
// serve any zone: SOA with the serial, NS, A, MX, TXT and a wildcard.
func ZoneFile(serial uint32) string {
	return fmt.Sprintf(`$TTL 300
@ SOA ns1 hostmaster %d 3600 600 604800 60
@ NS ns1
@ NS ns2
ns1 A 192.0.2.1
ns2 A 192.0.2.2
www A 192.0.2.80
* TXT "wild"
`, serial)
}

// longZone is ZoneFile for a zone below which its names have no room.
const longZone = "$TTL 300\n@ SOA invalid. invalid. 1 3600 600 604800 60\n@ NS invalid.\n"

// roomy reports whether a zone has room for the names of ZoneFile: none is longer
// than 255 octets (RFC 1035 section 2.3.4).
func roomy(zone string) bool {
	_, ok := dns.IsDomainName("hostmaster." + dns.Fqdn(zone))
	return ok
}

// SOA asks the server for a zone's serial: ok when the answer is authoritative;
// rcode and error otherwise say what came.
func (s *Server) SOA(zone string) (serial uint32, rcode int, ok bool) {
	m := new(dns.Msg)
	m.SetQuestion(dns.Fqdn(zone), dns.TypeSOA)
	m.RecursionDesired = false
	m.SetEdns0(1232, false) // the name may stand three times in the answer
	c := dns.Client{Timeout: time.Second}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	r, _, err := c.ExchangeContext(ctx, m, s.Address.String())
	if err != nil {
		return 0, -1, false
	}
	for _, rr := range r.Answer {
		// The question comes back with the escapes of the answer.
		if soa, is := rr.(*dns.SOA); is && r.Authoritative && strings.EqualFold(rr.Header().Name, r.Question[0].Name) {
			return soa.Serial, r.Rcode, true
		}
	}
	return 0, r.Rcode, false
}
