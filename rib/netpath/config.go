package netpath

import (
	"errors"
	"time"

	"kaname.dev/kaname/rib/netpath/intent/neutron"
)

// Config is the section "netpath" of the configuration file: what hosts may be asked, and,
// on cores, where Neutron is.
type Config struct {
	Look    bool    `yaml:"look" help:"whether cores may look at this host's links, routes, filters and flows; nothing is changed by it"`
	Host    string  `yaml:"host" help:"what Neutron calls this host: host= in its neutron.conf; empty means the host's name"`
	Neutron Neutron `yaml:"neutron" help:"where cores find Neutron"`
}

// Neutron is how cores reach Neutron's API.
type Neutron struct {
	Cloud    string        `yaml:"cloud" help:"name of an entry in clouds.yaml; the account needs to see all projects"`
	Clouds   string        `yaml:"clouds" help:"path of clouds.yaml, mode 0600; empty means OpenStack's usual places"`
	Endpoint string        `yaml:"endpoint" help:"URL of a Neutron that asks for no token, instead of a cloud: http://10.0.0.10:9696"`
	Within   time.Duration `yaml:"within" help:"how long all of its answers may take; 0 means 60 s"`
}

// Check refuses settings that do not go together.
func (c *Config) Check() error {
	if c.Neutron.Cloud != "" && c.Neutron.Endpoint != "" {
		return errors.New("neutron: cloud and endpoint are two ways to the same thing; leave one out")
	}
	if c.Neutron.Within < 0 {
		return errors.New("neutron: within is negative")
	}
	return nil
}

func (n Neutron) options() neutron.Options {
	return neutron.Options{Cloud: n.Cloud, Clouds: n.Clouds, Endpoint: n.Endpoint, Within: n.Within}
}
