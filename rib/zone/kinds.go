package zone

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/rib/zone/server"
	serverbind "kaname.dev/kaname/rib/zone/server/bind"
	"kaname.dev/kaname/rib/zone/server/exec"
	serverknot "kaname.dev/kaname/rib/zone/server/knot"
	"kaname.dev/kaname/rib/zone/server/nsd"
	serverpdns "kaname.dev/kaname/rib/zone/server/pdns"
	"kaname.dev/kaname/rib/zone/source"
	sourcebind "kaname.dev/kaname/rib/zone/source/bind"
	"kaname.dev/kaname/rib/zone/source/catalog"
	"kaname.dev/kaname/rib/zone/source/directory"
	sourceknot "kaname.dev/kaname/rib/zone/source/knot"
	"kaname.dev/kaname/rib/zone/source/notify"
	sourcepdns "kaname.dev/kaname/rib/zone/source/pdns"
)

// kind is a kind of name server.
type kind struct {
	open  func(server.Options) (server.Driver, error)
	setup func(server.Setup) server.Recipe
}

var kinds = map[string]kind{
	"bind": {serverbind.New, serverbind.Setup},
	"nsd":  {nsd.New, nsd.Setup},
	"knot": {serverknot.New, serverknot.Setup},
	"pdns": {serverpdns.New, serverpdns.Setup},
	"exec": {exec.New, exec.Setup},
}

var sourceKinds = map[string]func(source.Options) (source.Source, error){
	"catalog":   catalog.New,
	"bind":      sourcebind.New,
	"knot":      sourceknot.New,
	"pdns":      sourcepdns.New,
	"directory": directory.New,
	"notify":    notify.New,
}

func kindOf(text string) (kind, error) {
	k, ok := kinds[text]
	if !ok {
		return k, fault.Invalid(fmt.Sprintf("no kind of name server is called %q", text)).Try("one of: " + strings.Join(slices.Sorted(maps.Keys(kinds)), ", "))
	}
	return k, nil
}

func openSource(o source.Options) (source.Source, error) {
	open, ok := sourceKinds[o.Kind]
	if !ok {
		return nil, fault.Invalid(fmt.Sprintf("no kind of source is called %q", o.Kind)).Try("one of: " + strings.Join(slices.Sorted(maps.Keys(sourceKinds)), ", "))
	}
	return open(o)
}
