package zone

import (
	"context"
	"net/netip"
	"slices"
	"time"

	"github.com/miekg/dns"

	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/rib/zone/name"
	"kaname.dev/kaname/rib/zone/serve"
	"kaname.dev/kaname/rib/zone/source"
	"kaname.dev/kaname/rib/zone/wire"
)

// readKeys reads the files with TSIG keys.
func readKeys(files []string) ([]wire.Key, error) {
	var keys []wire.Key
	for _, f := range files {
		k, err := wire.ReadKey(f)
		if err != nil {
			return nil, fault.Invalid("zone.keys: " + f + " holds no TSIG key").Because(err).Try("write it as BIND does: key \"name\" { algorithm hmac-sha256; secret \"…\"; };")
		}
		keys = append(keys, k)
	}
	return keys, nil
}

// openListener opens the DNS listener, if anything on this host needs one.
func (r *service) openListener() error {
	c := r.config
	listen := slices.Clone(c.Listen)
	if len(c.Servers) > 0 && c.Rescue != "" {
		listen = append(listen, c.Rescue)
	}
	if len(listen) == 0 {
		return nil
	}
	rules, keys, err := r.notifyRules()
	if err != nil {
		return err
	}
	s, err := serve.New(serve.Options{Listen: listen, Keys: keys, Notify: rules, OnNotify: r.hear, Log: r.node.Log})
	if err != nil {
		return fault.Unavailable("DNS listener cannot be opened").Because(err).Try("see who has the port: ss -lnptu; or set zone.listen, zone.rescue")
	}
	r.listen = s
	return nil
}

// notifyRules says whose NOTIFYs the sources of this host want to hear, and which keys
// sign them.
func (r *service) notifyRules() ([]serve.Rule, []wire.Key, error) {
	keys := slices.Clone(r.keys)
	var rules []serve.Rule
	for i := range r.config.Sources {
		c := &r.config.Sources[i]
		var rule serve.Rule
		var err error
		if rule.From, err = prefixes(c.AllowFrom); err != nil {
			return nil, nil, err
		}
		if c.Kind != "notify" && c.Address != "" { // a hint to look, from the primary itself
			a := addr(c.Address).Addr()
			rule.From = append(rule.From, netip.PrefixFrom(a, a.BitLen()))
		}
		if c.Key != "" && c.Kind == "notify" {
			k, err := wire.ReadKey(c.Key)
			if err != nil {
				return nil, nil, fault.Invalid("zone.sources: " + c.Name + ": " + c.Key + " holds no TSIG key").Because(err)
			}
			rule.Keys = []string{k.Name}
			if !slices.ContainsFunc(keys, func(x wire.Key) bool { return x.Name == k.Name }) {
				keys = append(keys, k)
			}
		}
		if c.Kind == "catalog" {
			if rule.Zones, err = names([]string{c.Catalog}); err != nil {
				return nil, nil, err
			}
		}
		rules = append(rules, rule)
	}
	return rules, keys, nil
}

// hear hands a NOTIFY to the sources of this host; each knows whether it is meant.
func (r *service) hear(n source.Notify) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.sources {
		s.Hear(n)
	}
}

// rescue returns how a site gets kept contents served to its server, nil when that is
// off.
func (r *service) rescue() func(name.Name) (netip.AddrPort, error) {
	if r.listen == nil || r.config.Rescue == "" {
		return nil
	}
	at := addr(r.config.Rescue)
	return func(n name.Name) (netip.AddrPort, error) {
		records, err := r.kept.Read(n)
		if err != nil {
			return at, err
		}
		for _, rr := range records {
			if soa, ok := rr.(*dns.SOA); ok {
				if serial, served := r.listen.Serial(n); served && serial == soa.Serial {
					return at, nil
				}
			}
		}
		r.listen.Withdraw(n) // an older one, whose serial may be newer
		err = r.listen.Publish(serve.Zone{Name: n, Records: slices.Values(records), AllowFrom: loopback()})
		return at, err
	}
}

// loopback returns the addresses of this machine's own.
func loopback() []netip.Prefix {
	return []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}
}

// sweep forgets contents whose quarantine has ended.
func (r *service) sweep(ctx context.Context) error {
	tick := time.NewTicker(10 * time.Minute)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			if err := r.kept.Sweep(time.Now().Add(-r.settings().Quarantine - time.Hour)); err != nil {
				r.node.Log.Warn("quarantine cannot be swept", "why", err)
			}
		}
	}
}
