package agent

import (
	"maps"
	"reflect"

	"kaname.dev/kaname/config"
)

// reload reads the configuration again. A file that is refused changes nothing.
// Labels, log level and what the ribs can change while they run apply at once;
// the rest is named in the log and waits for the next start.
func (l *life) reload() {
	notifyReloading(l.log)
	defer notifyReady(l.log, "serving as "+l.name)
	cfg, ribs, err := l.load()
	if err != nil {
		l.log.Error("configuration refused, the old one stays", "error", err)
		return
	}
	l.logs.level.Set(cfg.Log.SlogLevel())
	if !maps.Equal(cfg.Host.Labels, l.cfg.Host.Labels) {
		l.cfg.Host.Labels = cfg.Host.Labels
		l.tellLabels()
	}
	for i, r := range l.ribs {
		if r.Reload != nil && ribs[i].Config != nil {
			r.Reload(ribs[i].Config)
		}
	}
	for _, key := range later(l.cfg, cfg) {
		l.log.Warn("setting changes at the next start only", "key", key)
	}
	l.log.Info("configuration read again", "file", cfg.File)
}

// later names the settings that differ and do not apply at once.
func later(old, now *config.Loaded) []string {
	fixed := func(c *config.Loaded) map[string]any {
		return map[string]any{
			"host.name": c.Host.Name, "host.dir": c.Host.Dir, "plane": c.Plane, "api": c.API,
			"peer": c.Peer, "metrics": c.Metrics, "log.format": c.Log.Format,
		}
	}
	var keys []string
	was := fixed(old)
	for key, v := range fixed(now) {
		if !reflect.DeepEqual(was[key], v) {
			keys = append(keys, key)
		}
	}
	return keys
}
