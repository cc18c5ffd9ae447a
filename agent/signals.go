package agent

import (
	"context"
	"errors"
	"io"
	"os"
	"os/signal"
	"runtime"
	"syscall"
)

// signals receives what the agent answers to.
type signals struct{ c chan os.Signal }

func watchSignals() *signals {
	s := &signals{make(chan os.Signal, 4)}
	signal.Notify(s.c, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGQUIT)
	return s
}

func (s *signals) stop() { signal.Stop(s.c) }

// second waits for another signal to stop and then cuts the draining short. It
// returns when ctx ends.
func (s *signals) second(ctx context.Context, now context.CancelCauseFunc) {
	for {
		select {
		case <-ctx.Done():
			return
		case sig := <-s.c:
			if kindOf(sig) == halt {
				now(errors.New("asked twice to stop"))
				return
			}
		}
	}
}

// meaning is what a signal asks for.
type meaning int

const (
	halt   meaning = iota // TERM, INT
	reload                // HUP
	dump                  // QUIT
)

func kindOf(s os.Signal) meaning {
	switch s {
	case syscall.SIGHUP:
		return reload
	case syscall.SIGQUIT:
		return dump
	default:
		return halt
	}
}

// dumpStacks writes the stacks of all goroutines.
func dumpStacks(w io.Writer) {
	buf := make([]byte, 8<<20)
	buf = buf[:runtime.Stack(buf, true)]
	_, _ = w.Write(buf) // standard error: there is no other place to tell that it is broken
}
