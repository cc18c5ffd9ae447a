package server_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"strconv"
	"testing"
	"time"

	"kaname.dev/kaname/lab"
	labmysql "kaname.dev/kaname/lab/mysql"
	"kaname.dev/kaname/rib/mysql/server"
)

// flavours runs a test on real servers of both flavours.
func flavours(t *testing.T, test func(t *testing.T, flavour string)) {
	t.Run("mariadb", func(t *testing.T) {
		lab.Need(t, "mariadbd")
		test(t, labmysql.FlavourMariaDB)
	})
	t.Run("mysql", func(t *testing.T) {
		labmysql.NeedMySQL(t)
		test(t, labmysql.FlavourMySQL)
	})
}

// open returns the server as its agent works it, over the unix socket.
func open(t testing.TB, l *labmysql.Server) *server.Server {
	t.Helper()
	return with(t, server.Options{Name: l.Name, Socket: l.Socket, Credentials: admin})
}

func admin() (string, string, error) { return labmysql.UserAdmin, labmysql.PasswordAdmin, nil }

func with(t testing.TB, o server.Options) *server.Server {
	t.Helper()
	s, err := server.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { close1(t, s) })
	return s
}

func close1(t testing.TB, c io.Closer) {
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}

func within(t testing.TB, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// source returns a server of the lab as others replicate from it.
func source(t testing.TB, l *labmysql.Server) server.Source {
	t.Helper()
	host, port, err := net.SplitHostPort(l.Address())
	ok(t, err)
	n, err := strconv.Atoi(port)
	ok(t, err)
	return server.Source{Host: host, Port: n, User: labmysql.UserRepl, Password: labmysql.PasswordRepl}
}

// rows writes n rows to app.acks beginning with from, in one session each.
func rows(t testing.TB, l *labmysql.Server, from, n int) {
	t.Helper()
	for i := range n {
		l.Exec(t, fmt.Sprintf("INSERT INTO app.acks (id, writer) VALUES (%d, 0)", from+i))
	}
}

// count returns how many rows of app.acks there are from a number on.
func count(t testing.TB, l *labmysql.Server, from int) int {
	t.Helper()
	n, err := strconv.Atoi(l.Value(t, "SELECT COUNT(*) FROM app.acks WHERE id >= ?", from))
	ok(t, err)
	return n
}
