package knotctl

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Begin opens the server's one configuration transaction and returns the conversation
// in which it is open. When another is open it waits for its end, as long as ctx lasts
// but at most patience: in between the socket is free, so that the other can end. One
// whose changes ours reports to be ours was left by a process of ours that died, for
// while this conversation is open no other is: it is aborted. So is one that stays
// without any change for idle: whoever began it loses nothing.
func Begin(ctx context.Context, path string, patience time.Duration, ours func([]Data) bool) (*Conn, error) {
	limit := time.Now().Add(patience)
	var empty time.Time // since when the other's transaction is without a change
	for {
		c, err := Dial(ctx, path)
		if err != nil {
			return nil, err
		}
		_, err = c.Do(Data{Command: "conf-begin"})
		if errors.Is(err, ErrBusy) && c.left(ours, &empty) {
			if _, err = c.Do(Data{Command: "conf-abort"}); err == nil {
				_, err = c.Do(Data{Command: "conf-begin"})
			}
		}
		if err == nil {
			return c, nil
		}
		_ = c.Close()
		if errors.Is(err, ErrUnreachable) {
			Abort(ctx, path) // a server that was stopped begins it when it goes on
			return nil, err
		}
		if !errors.Is(err, ErrBusy) || time.Now().After(limit) {
			return nil, fmt.Errorf("%w; end it with: knotc conf-commit, or knotc conf-abort", err)
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: %w", err, ctx.Err())
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// idle is how long another's transaction may stay without a change.
const idle = 2 * time.Second

// left reports whether the open transaction was left by somebody who is no more.
func (c *Conn) left(ours func([]Data) bool, empty *time.Time) bool {
	diff, err := c.Do(Data{Command: "conf-diff"})
	if err != nil {
		return false
	}
	if len(diff) > 0 {
		*empty = time.Time{}
		return ours(diff)
	}
	if empty.IsZero() {
		*empty = time.Now()
	}
	return time.Since(*empty) >= idle
}

// Commit makes the transaction take effect and ends the conversation. An error is of
// the transaction: nothing of it is done, unless it wraps ErrUnreachable.
func (c *Conn) Commit() error {
	_, err := c.Do(Data{Command: "conf-commit"})
	if err != nil && !errors.Is(err, ErrUnreachable) {
		_, _ = c.Do(Data{Command: "conf-abort"})
	}
	return err
}

// Abort gives the transaction at path up, though the conversation may be broken.
func Abort(ctx context.Context, path string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	c, err := Dial(ctx, path)
	if err != nil {
		return // what is left is found by the next Begin
	}
	_, _ = c.Do(Data{Command: "conf-abort"})
	_ = c.Close()
}
