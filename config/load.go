package config

import (
	"errors"
	"io/fs"
	"os"
	"reflect"
	"slices"
	"strings"

	"github.com/goccy/go-yaml/token"

	"kaname.dev/kaname/fault"
)

// Options says where a configuration comes from.
type Options struct {
	File string // path of the file; empty means DefaultFile, which may be missing
	// Sections are the ribs' sections by name: pointers to structs that hold the
	// defaults and are filled. Nil values are skipped.
	Sections map[string]any
	Env      []string          // KEY=value as of os.Environ; only KANAME_… is looked at
	Flags    map[string]string // by key ("log.level"), in text form
}

// Loaded is a configuration with the origin of each value.
type Loaded struct {
	Config
	File     string // path of the file, empty when there was none
	Sections map[string]any
	Warnings []string // what is odd but no error: an unknown KANAME_… variable

	origins map[string]string
}

// Value is one effective setting.
type Value struct {
	Key    string `json:"key"`    // "plane.mode"
	Value  string `json:"value"`  // in text form
	Origin string `json:"origin"` // "default", "/etc/kaname/kaname.yaml:12", "KANAME_PLANE_MODE", "--mode"
}

// Load reads all layers and checks the outcome. Everything that is wrong comes
// back at once as a fault of kind invalid that wraps Problems.
func Load(o Options) (*Loaded, error) {
	l, problems, err := load(o)
	if err != nil {
		return nil, err
	}
	if len(problems) > 0 {
		return nil, problems.Fault()
	}
	return l, nil
}

// Check reads all layers as Load does and returns everything that is wrong, one
// by one; err is set when the file cannot be read at all.
func Check(o Options) (Problems, error) {
	_, problems, err := load(o)
	return problems, err
}

func load(o Options) (*Loaded, Problems, error) {
	l := &Loaded{Config: Default(), Sections: o.Sections, origins: map[string]string{}}
	raw, err := l.readFile(o.File)
	if err != nil {
		return nil, nil, err
	}
	sections := l.sections()
	fr := &filer{file: l.File, tokens: map[string]*token.Token{}}
	if raw != nil {
		fr.read(raw, sections)
	}
	for key, tk := range fr.tokens {
		l.origins[key] = at(l.File, tk, "").Where
	}
	problems := fr.problems
	leaves := leavesOf("", sections)
	problems = append(problems, l.environment(o.Env, leaves)...)
	problems = append(problems, l.flags(o.Flags, leaves)...)
	if len(problems) == 0 {
		problems = l.check(sections, fr)
	}
	return l, problems, nil
}

func (l *Loaded) readFile(name string) ([]byte, error) {
	given := name != ""
	if !given {
		name = DefaultFile
	}
	raw, err := os.ReadFile(name)
	switch {
	case err == nil:
		l.File = name
		return raw, nil
	case errors.Is(err, fs.ErrNotExist) && !given:
		return nil, nil
	case errors.Is(err, fs.ErrNotExist):
		return nil, fault.NotFound("configuration file " + name + " does not exist").Try("name another with --config, or write one: kaname config show >" + name)
	default:
		return nil, fault.Denied("configuration file " + name + " cannot be read").Because(err)
	}
}

// sections lists all sections: the fixed ones in the order of the struct, then
// the ribs' by name.
func (l *Loaded) sections() []field {
	list := fieldsOf(reflect.ValueOf(&l.Config).Elem())
	for _, name := range slices.Sorted(mapKeys(l.Sections)) {
		v := reflect.ValueOf(l.Sections[name])
		if v.Kind() != reflect.Pointer || v.IsNil() {
			continue
		}
		list = append(list, field{name: name, help: "rib " + name, value: v.Elem()})
	}
	return list
}

func mapKeys[V any](m map[string]V) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

// leaf is a key that can be set by one text.
type leaf struct {
	key string
	field
}

func leavesOf(path string, fields []field) []leaf {
	var list []leaf
	for _, f := range fields {
		if key := join(path, f.name); isSection(f.value) {
			list = append(list, leavesOf(key, fieldsOf(f.value))...)
		} else {
			list = append(list, leaf{key, f})
		}
	}
	return list
}

// EnvName returns the variable that overrides a key: "plane.cluster.name" is
// KANAME_PLANE_CLUSTER_NAME.
func EnvName(key string) string {
	return "KANAME_" + strings.ToUpper(strings.NewReplacer(".", "_", "-", "_").Replace(key))
}

func (l *Loaded) environment(env []string, leaves []leaf) Problems {
	var problems Problems
	for _, kv := range env {
		name, text, _ := strings.Cut(kv, "=")
		if !strings.HasPrefix(name, "KANAME_") {
			continue
		}
		i := slices.IndexFunc(leaves, func(lf leaf) bool { return EnvName(lf.key) == name })
		if i < 0 {
			l.warnVariable(name, leaves)
			continue
		}
		if err := leaves[i].setText(text); err != nil {
			problems = append(problems, Problem{Where: name, Text: leaves[i].key + ": " + err.Error()})
		}
		l.origins[leaves[i].key] = name
	}
	return problems
}

// warnVariable tells of a variable that looks like a misspelt setting. Others
// (KANAME_TOKEN, KANAME_OUTPUT) belong to the command line.
func (l *Loaded) warnVariable(name string, leaves []leaf) {
	known := make([]string, len(leaves))
	for i, lf := range leaves {
		known[i] = EnvName(lf.key)
	}
	if n := nearest(name, known); n != "" && distance(name, n) <= 2 {
		l.Warnings = append(l.Warnings, "environment variable "+name+" is not used; did you mean "+n+"?")
	}
}

func (l *Loaded) flags(flags map[string]string, leaves []leaf) Problems {
	var problems Problems
	for _, key := range slices.Sorted(mapKeys(flags)) {
		where := "--" + strings.ReplaceAll(key, ".", "-")
		i := slices.IndexFunc(leaves, func(lf leaf) bool { return lf.key == key })
		if i < 0 {
			problems = append(problems, Problem{Where: where, Text: "there is no setting " + key})
			continue
		}
		if err := leaves[i].setText(flags[key]); err != nil {
			problems = append(problems, Problem{Where: where, Text: key + ": " + err.Error()})
		}
		l.origins[key] = where
	}
	return problems
}

// check asks each section that has a Check. A text that begins with one of the
// section's keys and a colon is placed there.
func (l *Loaded) check(sections []field, fr *filer) Problems {
	var problems Problems
	for _, s := range sections {
		c, ok := reflect.TypeAssert[interface{ Check() error }](s.value.Addr())
		if !ok {
			continue
		}
		err := c.Check()
		if err == nil {
			continue
		}
		text := strings.TrimPrefix(err.Error(), s.name+".")
		sub, _, _ := strings.Cut(text, ":")
		key := join(s.name, sub)
		where, set := l.origins[key]
		if set && fr.tokens[key] == nil {
			problems = append(problems, Problem{Where: where, Text: s.name + "." + text})
			continue
		}
		file := l.File
		if file == "" {
			file = "configuration"
		}
		problems = append(problems, at(file, fr.place(key), s.name+"."+text))
	}
	return problems
}

// Values lists every effective setting, in the order of the file's reference.
func (l *Loaded) Values() []Value {
	var list []Value
	for _, lf := range leavesOf("", l.sections()) {
		origin := l.origins[lf.key]
		if origin == "" {
			origin = "default"
		}
		list = append(list, Value{lf.key, textOf(lf.value), origin})
	}
	return list
}

// Origin tells where the value of a key came from; "default" unless it was set.
func (l *Loaded) Origin(key string) string {
	if o, ok := l.origins[key]; ok {
		return o
	}
	return "default"
}
