package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"time"

	"golang.org/x/sys/unix"
)

// answer listens on a TCP port and says "hi" to everybody until ctx ends.
func answer(ctx context.Context, port int) error {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp4", fmt.Sprintf(":%d", port))
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	context.AfterFunc(ctx, func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Write([]byte("hi\n")) // who asked may have gone
			_ = conn.Close()
		}
	}()
	return nil
}

// discover asks for an address as a booting VM does and waits 3 s for the offer. It
// sends and receives raw frames, for the device has an address already.
func discover(device, mac string) error {
	hw, err := net.ParseMAC(mac)
	if err != nil {
		return err
	}
	nic, err := net.InterfaceByName(device)
	if err != nil {
		return fmt.Errorf("device %s: %w", device, err)
	}
	const all = 0x0300 // ETH_P_ALL in network order
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW, all)
	if err != nil {
		return fmt.Errorf("raw socket: %w", err)
	}
	defer func() { _ = unix.Close(fd) }()
	at := &unix.SockaddrLinklayer{Protocol: all, Ifindex: nic.Index}
	if err := unix.Bind(fd, at); err != nil {
		return fmt.Errorf("bind to %s: %w", device, err)
	}
	xid := uint32(time.Now().UnixNano())
	deadline := time.Now().Add(3 * time.Second)
	buf := make([]byte, 2048)
	for next := time.Now(); time.Now().Before(deadline); {
		if !time.Now().Before(next) {
			next = time.Now().Add(time.Second)
			if err := unix.Sendto(fd, discovery(hw, xid), 0, at); err != nil {
				return fmt.Errorf("send on %s: %w", device, err)
			}
		}
		wait := unix.Timeval{Usec: 100_000}
		if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &wait); err != nil {
			return err
		}
		n, _, err := unix.Recvfrom(fd, buf, 0)
		if err == nil && offered(buf[:n], xid) {
			return nil
		}
	}
	return errors.New("no OFFER within 3 s")
}

// discovery is the whole Ethernet frame: RFC 2131 section 4.4.1 over UDP over IPv4.
func discovery(hw net.HardwareAddr, xid uint32) []byte {
	bootp := make([]byte, 240, 300)
	copy(bootp, []byte{1, 1, 6, 0})
	binary.BigEndian.PutUint32(bootp[4:], xid)
	binary.BigEndian.PutUint16(bootp[10:], 0x8000) // answer by broadcast
	copy(bootp[28:], hw)
	copy(bootp[236:], []byte{99, 130, 83, 99})
	bootp = append(bootp, 53, 1, 1, 55, 4, 1, 3, 26, 121, 255)
	bootp = append(bootp, make([]byte, 300-len(bootp))...)
	udp := make([]byte, 8)
	binary.BigEndian.PutUint16(udp, 68)
	binary.BigEndian.PutUint16(udp[2:], 67)
	binary.BigEndian.PutUint16(udp[4:], uint16(8+len(bootp))) // checksum 0: none
	ip := []byte{0x45, 0, 0, 0, 0, 0, 0, 0, 64, 17, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255}
	binary.BigEndian.PutUint16(ip[2:], uint16(28+len(bootp)))
	sum := uint32(0)
	for i := 0; i < len(ip); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(ip[i:]))
	}
	sum = sum&0xffff + sum>>16
	binary.BigEndian.PutUint16(ip[10:], ^uint16(sum+sum>>16))
	frame := append(bytes.Repeat([]byte{0xff}, 6), hw...)
	return bytes.Join([][]byte{frame, {8, 0}, ip, udp, bootp}, nil)
}

// offered reports whether a frame is the BOOTP reply to xid.
func offered(frame []byte, xid uint32) bool {
	const bootp = 14 + 20 + 8
	return len(frame) > bootp+240 && frame[12] == 8 && frame[23] == 17 &&
		frame[bootp] == 2 && binary.BigEndian.Uint32(frame[bootp+4:]) == xid
}
