package agent

import (
	"context"
	"encoding/json"
	"net"
	"os"
	"strconv"
	"strings"

	"kaname.dev/kaname/action"
	"kaname.dev/kaname/config"
	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/plane/trust"
)

// apiPort is the port of a core's API when an address names none.
const apiPort = "7421"

type joinIn struct {
	Token  action.Secret `name:"token" arg:"" required:"" help:"join token from kaname token create; - reads it from standard input"`
	Core   string        `name:"core" help:"host:port of a core's API, if the token does not end with @host:port"`
	Name   string        `name:"name" help:"name of this host in the plane; that of the machine when absent"`
	Labels []string      `name:"labels" help:"labels of this host: role=web,zone=a"`
	Again  bool          `name:"again" help:"replace the identity that this host has"`

	settingsIn
}

// JoinResult is what a host has after joining.
type JoinResult struct {
	Host   string   `json:"host"`
	Role   string   `json:"role"`
	Cores  []string `json:"cores"`
	Config string   `json:"config"` // file that was written
	Next   string   `json:"next"`   // what to do now
}

// String says it in a sentence.
func (j JoinResult) String() string {
	return "host " + j.Host + " has joined (cores: " + strings.Join(j.Cores, ", ") + "; settings: " + j.Config + ")\nnow run: " + j.Next
}

// join lets this host join a plane.
func (lo local) join(ctx context.Context, r *action.Run, in joinIn) (JoinResult, error) {
	text, core, err := in.target()
	if err != nil {
		return JoinResult{}, err
	}
	token, err := trust.ParseToken(text)
	if err != nil {
		return JoinResult{}, err
	}
	o, err := in.options(lo.ribs())
	if err != nil {
		return JoinResult{}, err
	}
	cfg, err := config.Load(o)
	if fault.Is(err, fault.KindNotFound) {
		o.File = "" // the file is about to be written
		cfg, err = config.Load(o)
	}
	if err != nil {
		return JoinResult{}, err
	}
	name := in.Name
	if name == "" {
		name = HostName(cfg.Config)
	}
	dir := trustDir(cfg.Config)
	if err := in.free(dir); err != nil {
		return JoinResult{}, err
	}
	r.Note("joining as " + name + " at " + core)
	j, err := trust.Join(ctx, core, token, name)
	if err != nil {
		return JoinResult{}, err
	}
	if err := os.MkdirAll(cfg.Host.Dir, 0o750); err != nil {
		return JoinResult{}, fault.Denied("state directory " + cfg.Host.Dir + " cannot be made").Because(err).Try("run as root, or set host.dir")
	}
	if j.Authority != nil {
		if err := j.Authority.Save(dir); err != nil {
			return JoinResult{}, err
		}
	}
	if err := j.Identity.Save(dir); err != nil {
		return JoinResult{}, err
	}
	return in.settle(j, core, name, o)
}

// target splits the token from the address behind it.
func (in joinIn) target() (token, core string, err error) {
	token, core, _ = strings.Cut(strings.TrimSpace(in.Token.Reveal()), "@")
	if in.Core != "" {
		core = in.Core
	}
	if core == "" {
		return "", "", fault.Invalid("the token names no core").Try("add --core HOST:" + apiPort + ", the address of a core's API")
	}
	if _, _, err := net.SplitHostPort(core); err != nil {
		core = net.JoinHostPort(strings.Trim(core, "[]"), apiPort)
	}
	return token, core, nil
}

// free refuses to replace an identity by accident.
func (in joinIn) free(dir string) error {
	id, err := trust.LoadIdentity(dir)
	if err != nil || in.Again {
		return nil //nolint:nilerr // nothing usable is there to be lost
	}
	return fault.Exists("this host has an identity already: " + id.Host()).At(dir).Try("to join anew, with a token bound to the name if it stays the same, add --again")
}

// settle writes the settings that the agent needs into the configuration file.
func (in joinIn) settle(j *trust.Joined, core, name string, o config.Options) (JoinResult, error) {
	file := in.file()
	if file == "" {
		file = config.DefaultFile
	}
	list := func(items ...string) string { b, _ := json.Marshal(items); return string(b) } // strings always marshal
	values := map[string]string{"host.name": strconv.Quote(name), "plane.mode": "host", "plane.cores": list(j.Cores...), "plane.api": list(core)}
	next := "systemctl enable --now kaname-agent"
	if j.Role == trust.RoleCore {
		delete(values, "plane.mode") // cluster or embedded: that is for the operator to say
		delete(values, "plane.cores")
		next = "set plane.mode and plane.cluster in " + file + ", then: systemctl enable --now kaname"
	}
	if dir, given := o.Flags["host.dir"]; given {
		values["host.dir"] = strconv.Quote(dir)
	}
	if len(in.Labels) > 0 {
		labels := map[string]string{}
		for _, l := range in.Labels {
			k, v, ok := strings.Cut(l, "=")
			if !ok {
				return JoinResult{}, fault.Invalid("label \"" + l + "\" is not key=value")
			}
			labels[k] = v
		}
		b, _ := json.Marshal(labels) // strings always marshal
		values["host.labels"] = string(b)
	}
	if err := config.Edit(file, values); err != nil {
		return JoinResult{}, err
	}
	o.File = file
	if _, err := config.Load(o); err != nil {
		return JoinResult{}, fault.Of(err)
	}
	if in.Config != "" {
		next = "kaname agent --config " + in.Config
	}
	return JoinResult{Host: name, Role: string(j.Role), Cores: j.Cores, Config: file, Next: next}, nil
}
