package collect

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"net/netip"
	"os"
	"strconv"
	"strings"

	"kaname.dev/kaname/rib/netpath/facts"
	"kaname.dev/kaname/rib/netpath/packet"
)

// Where the kernel lists sockets, and the state of those that wait for clients (proc_pid_net(5)).
var listings = []struct {
	file, state string
	proto       uint8
	ordered     bool // those that wait come first
}{
	{"tcp", "0A", packet.TCP, true},
	{"tcp6", "0A", packet.TCP, true},
	{"udp", "07", packet.UDP, false},
	{"udp6", "07", packet.UDP, false},
}

// maxSockets bounds the sockets kept of one listing.
const maxSockets = 4096

// readSockets reads /proc rather than ask sock_diag: that would load a module.
func (v *visit) readSockets() {
	for _, l := range listings {
		f, err := os.Open(self + "/net/" + l.file)
		if err != nil {
			continue // a kernel without that protocol
		}
		lines := bufio.NewScanner(f)
		for n := 0; lines.Scan() && n < maxSockets; {
			fields := strings.Fields(lines.Text())
			if len(fields) < 10 || fields[0] == "sl" {
				continue
			}
			if fields[3] != l.state {
				if l.ordered {
					break
				}
				continue
			}
			if at, ok := endpoint(fields[1]); ok {
				inode, _ := strconv.ParseUint(fields[9], 10, 64)
				v.out.Sockets = append(v.out.Sockets, facts.Socket{Proto: l.proto, Addr: at, Program: v.holders[inode]})
				n++
			}
		}
		_ = f.Close()
	}
}

// endpoint reads "0100007F:1F90": an address in words of the machine's byte order, and a port.
func endpoint(s string) (netip.AddrPort, bool) {
	host, port, ok := strings.Cut(s, ":")
	raw, err := hex.DecodeString(host)
	n, err2 := strconv.ParseUint(port, 16, 16)
	if !ok || err != nil || err2 != nil || len(raw)%4 != 0 {
		return netip.AddrPort{}, false
	}
	for i := 0; i < len(raw); i += 4 {
		binary.NativeEndian.PutUint32(raw[i:], binary.BigEndian.Uint32(raw[i:]))
	}
	a, ok := netip.AddrFromSlice(raw)
	return netip.AddrPortFrom(a, uint16(n)), ok
}
