// Package demo does kaname's main job on one machine, with nothing pretended: a
// core and several agents as processes of this very binary, joined with real
// tokens over loopback, a real release pushed, spread and made live in waves, a
// second one made from it and sent as a delta, a third that fails its health gate
// and is taken back. It compares the trees on the hosts with what tar unpacks and
// says in numbers what was sent.
package demo
