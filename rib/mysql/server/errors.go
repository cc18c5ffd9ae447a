package server

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"

	"github.com/go-sql-driver/mysql"
)

// ErrUndrained is in the error of a method that would throw away transactions that were
// received and are not applied.
var ErrUndrained = errors.New("received transactions are not applied yet")

// Refuses reports whether the server answered, with an error: too many connections, access
// denied, any other. It lives.
func Refuses(err error) bool {
	var answer *mysql.MySQLError
	return errors.As(err, &answer) ||
		errors.Is(err, mysql.ErrNoTLS) || errors.Is(err, mysql.ErrUnknownPlugin) || errors.Is(err, mysql.ErrOldPassword) ||
		errors.Is(err, mysql.ErrNativePassword) || errors.Is(err, mysql.ErrCleartextPassword)
}

// Refused reports whether nobody listens where the server should: its host answers that, or
// there is no socket.
func Refused(err error) bool {
	return errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, fs.ErrNotExist)
}

// code returns the server's number of an error, 0 for none.
func code(err error) uint16 {
	if answer, ok := errors.AsType[*mysql.MySQLError](err); ok {
		return answer.Number
	}
	return 0
}

// Numbers of errors: MySQL Server Error Message Reference; MariaDB has the same.
const (
	errTooMany        = 1040
	errNoSuchThread   = 1094
	errNoSuchDatabase = 1049
	errNoSuchTable    = 1146
	errReadOnly       = 1290
	errNoLibrary      = 1126
	errPluginExists   = 1125
	errPluginHere     = 1968 // MariaDB's
	errRestartFailed  = 3707 // after a clone, without a supervisor
)

// trouble says what was being done at which server. An error at the end of the context is
// one of the context, whatever the driver made of it.
func (s *Server) trouble(ctx context.Context, what string, err error) error {
	if err == nil {
		return nil
	}
	if cause := context.Cause(ctx); cause != nil && !errors.Is(err, cause) {
		err = fmt.Errorf("%w (%w)", cause, err)
	}
	return fmt.Errorf("mysql server %s: %s: %w", s.name, what, err)
}

// hide takes a secret out of what a server answered to a statement that had it: it quotes
// what it does not understand.
func hide(err error, secret string) error {
	var answer *mysql.MySQLError
	if secret == "" || !errors.As(err, &answer) || !strings.Contains(answer.Message, secret) {
		return err
	}
	clean := *answer
	clean.Message = strings.ReplaceAll(answer.Message, secret, "***")
	return &clean
}
