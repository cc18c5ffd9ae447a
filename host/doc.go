// Package host is everything that touches this machine apart from a rib's own
// files: commands in process groups, files replaced atomically under os.Root,
// free space, the clock, accounts, systemd units. It knows nothing of the plane.
package host
