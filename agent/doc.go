// Package agent is life on one host: the order in which the parts start and stop,
// signals, health, metrics, the watchdog, the renewal of the certificate, and the
// actions that are about hosts rather than about a rib.
//
// The order of a start: configuration, the private listener (so that a probe can
// watch), the listener between hosts, identity, plane, the ribs' Attach, their
// loops, the API and console on cores, and then READY to systemd. A stop goes the
// same way back. TERM and INT drain first and a second one stops at once; HUP
// reads the configuration again; QUIT writes the stacks of all goroutines to
// standard error and goes on.
package agent
