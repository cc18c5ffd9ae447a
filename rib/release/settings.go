package release

import (
	"fmt"
	"strings"

	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/rib/release/activate"
	"kaname.dev/kaname/rib/release/rollout"
)

// none is what takes a remembered command or path away: --post none.
const none = "none"

// merge returns the settings of an app's deploy: what is asked for over what is
// remembered.
func (in *deployIn) merge(was settings) (s settings, err error) {
	if !in.Fresh {
		s = was
	}
	text := func(to *string, v string) {
		switch v {
		case "":
		case none:
			*to = ""
		default:
			*to = v
		}
	}
	list := func(to *[]string, v []string) {
		switch {
		case len(v) == 0:
		case len(v) == 1 && v[0] == none:
			*to = nil
		default:
			*to = v
		}
	}
	lines := func(to *[]string, v string) {
		switch v {
		case "":
		case none:
			*to = nil
		default:
			*to = []string{v}
		}
	}
	lines(&s.Hooks.Pre, in.Pre)
	lines(&s.Hooks.Post, in.Post)
	lines(&s.Hooks.Success, in.Success)
	lines(&s.Hooks.Failure, in.Failure)
	list(&s.Shared, in.Shared)
	text(&s.Waves, in.Waves)
	text(&s.Root, in.Root)
	if in.HealthURL != "" || in.HealthCmd != "" {
		s.Health.URL, s.Health.Command = "", ""
		text(&s.Health.URL, in.HealthURL)
		text(&s.Health.Command, in.HealthCmd)
	}
	if in.HealthWithin > 0 {
		s.Health.Within = in.HealthWithin
	}
	if in.HookTimeout > 0 {
		s.Hooks.Timeout = in.HookTimeout
	}
	if in.Keep > 0 {
		s.Keep = in.Keep
	}
	if in.Rollback != "" {
		s.Scope = rollout.Scope(in.Rollback)
	}
	if in.Owners != "" {
		s.Owners = strings.TrimPrefix(in.Owners, "archive")
	}
	if in.Pause > 0 {
		s.Pause = in.Pause
	}
	if in.MaxFailures != "" {
		if _, err := fmt.Sscanf(in.MaxFailures, "%d", &s.MaxFailures); err != nil || s.MaxFailures < 0 {
			return s, fault.Invalid(fmt.Sprintf("%q is not a number of hosts that may fail", in.MaxFailures))
		}
	}
	if s.Waves == "" {
		s.Waves = "1,10%,100%"
	}
	return s, s.check()
}

// check refuses settings that cannot be carried out.
func (s *settings) check() error {
	if _, err := rollout.ParseWaves(s.Waves); err != nil {
		return fault.Invalid("waves").Because(err).Try("write them as 1,10%,100%")
	}
	if err := s.Health.Check(); err != nil {
		return err
	}
	return activate.CheckShared(s.Shared)
}
