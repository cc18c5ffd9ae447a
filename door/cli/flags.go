package cli

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"kaname.dev/kaname/action"
	"kaname.dev/kaname/fault"
)

// texts are the inputs as they stand on the command line, by field.
type texts struct {
	fields []action.Field
	given  map[string][]string
}

func newTexts(fields []action.Field) *texts {
	return &texts{fields: fields, given: map[string][]string{}}
}

// with adds the positional arguments; a list takes all that remain.
func (t *texts) with(args []string) *texts {
	for _, f := range t.fields {
		if !f.Arg || len(args) == 0 {
			continue
		}
		n := 1
		if f.Kind == action.KindList {
			n = len(args)
		}
		t.given[f.Name] = args[:n]
		args = args[n:]
	}
	return t
}

// fits refuses arguments that no field takes.
func fits(a action.Action, args []string) error {
	most := 0
	for _, f := range a.Fields {
		if f.Arg && f.Kind == action.KindList {
			return nil
		}
		if f.Arg {
			most++
		}
	}
	if len(args) > most {
		return fault.Invalid(fmt.Sprintf("%s: there is no place for %q", a.Name, args[most])).Try("see: kaname " + a.Name + " --help")
	}
	return nil
}

// flagText is the pflag.Value of a field: it keeps every text given, and leaves
// judging them to the action's own decoder.
type flagText struct {
	field action.Field
	texts *texts
}

// Set keeps the text.
func (v flagText) Set(s string) error {
	v.texts.given[v.field.Name] = append(v.texts.given[v.field.Name], s)
	return nil
}

// String returns the default, for help.
func (v flagText) String() string { return v.field.Default }

// Type names the kind, for help.
func (v flagText) Type() string {
	if v.field.Kind == action.KindBool {
		return "bool" // pflag prints no name for it
	}
	return string(v.field.Kind)
}

// flag adds the flag of a field.
func (c *CLI) flag(cmd *cobra.Command, f action.Field, t *texts) {
	help := f.Help.In(c.lang)
	if len(f.Enum) > 0 {
		help += ": " + strings.Join(f.Enum, ", ")
	}
	if f.Required {
		help += c.say(" (required)", " (必須)")
	}
	if f.Kind == action.KindSecret {
		help += c.say(" (- asks for it, @FILE reads it)", " (- で入力、@FILE で読込)")
	}
	flag := cmd.Flags().VarPF(flagText{f, t}, f.Name, "", help)
	if f.Kind == action.KindBool {
		flag.NoOptDefVal = "true"
		if f.Default == "" {
			flag.DefValue = "false"
		}
	}
	c.completeFlag(cmd, f)
}

// inputs turns the texts into inputs: files are opened, secrets asked for. The
// caller calls closeAll when the call has ended.
func (c *CLI) inputs(a action.Action, t *texts) (in action.Inputs, closeAll func(), err error) {
	in = action.TextInputs(nil)
	var open []io.Closer
	closeAll = func() {
		for _, f := range open {
			_ = f.Close() // only read from
		}
	}
	for _, f := range a.Fields {
		given := t.given[f.Name]
		switch {
		case f.Kind == action.KindSecret:
			secret, err := c.secret(f, given)
			if err != nil {
				return in, closeAll, err
			}
			if secret != "" {
				in.SetText(f, secret)
			}
		case len(given) == 0 && f.Name == action.FieldLang:
			in.SetText(f, c.lang)
		case len(given) == 0:
		case f.Kind == action.KindFile && !action.IsURL(given[0]):
			file, err := c.openFile(f, given)
			if err != nil {
				return in, closeAll, err
			}
			if cl, ok := file.Reader.(io.Closer); ok && given[0] != "-" {
				open = append(open, cl)
			}
			in.Files[f.Name] = file
		default:
			in.SetText(f, given...)
		}
	}
	return in, closeAll, nil
}

func (c *CLI) openFile(f action.Field, given []string) (action.File, error) {
	if len(given) > 1 {
		return action.File{}, fault.Invalid(f.Name + ": given " + strconv.Itoa(len(given)) + " times, takes one file")
	}
	path := given[0]
	if path == "-" {
		return action.File{Name: "stdin", Reader: c.o.Stdin, Size: -1}, nil
	}
	file, err := os.Open(path) //nolint:gosec // the user names it
	if err != nil {
		kind := fault.Invalid
		if os.IsNotExist(err) {
			kind = fault.NotFound
		}
		return action.File{}, kind(f.Name + ": file " + path + " cannot be opened").Because(inner(err))
	}
	fi, err := file.Stat()
	if err == nil && fi.IsDir() {
		err = fault.Invalid(f.Name + ": " + path + " is a directory, not a file")
	}
	if err != nil {
		_ = file.Close() // only opened
		return action.File{}, err
	}
	size := int64(-1)
	if fi.Mode().IsRegular() {
		size = fi.Size()
	}
	return action.File{Name: filepath.Base(path), Reader: file, Size: size}, nil
}

// inner drops the path that os.PathError repeats.
func inner(err error) error {
	if pe, ok := err.(*os.PathError); ok { //nolint:errorlint // as os.Open returns it
		return pe.Err
	}
	return err
}

// secret returns a secret: as given, from a file (@FILE), or asked for without
// echo (-, or when it is required and not given on a terminal).
func (c *CLI) secret(f action.Field, given []string) (string, error) {
	text := ""
	switch {
	case len(given) > 1:
		return "", fault.Invalid(f.Name + ": given more than once")
	case len(given) == 1:
		text = given[0]
	case f.Required && terminal(c.o.Stdin):
		text = "-"
	}
	if path, ok := strings.CutPrefix(text, "@"); ok {
		b, err := os.ReadFile(path) //nolint:gosec // the user names it
		if err != nil {
			return "", fault.Invalid(f.Name + ": file " + path + " cannot be read").Because(inner(err))
		}
		return strings.TrimRight(string(b), "\r\n"), nil
	}
	if text != "-" {
		return text, nil
	}
	if in, ok := c.o.Stdin.(*os.File); ok && terminal(c.o.Stdin) {
		fmt.Fprintf(c.o.Stderr, "%s: ", f.Help.In(c.lang))
		b, err := term.ReadPassword(int(in.Fd()))
		fmt.Fprintln(c.o.Stderr)
		return string(b), err
	}
	line, err := readLine(c.o.Stdin)
	if err != nil {
		return "", fault.Invalid(f.Name + ": standard input holds no line").Because(err)
	}
	return line, nil
}

// readLine reads one line byte by byte, so that nothing behind it is taken.
func readLine(r io.Reader) (string, error) {
	var line []byte
	b := make([]byte, 1)
	for {
		n, err := r.Read(b)
		if n == 1 && b[0] == '\n' || err == io.EOF && len(line) > 0 { //nolint:errorlint // io.Reader's contract
			return strings.TrimSuffix(string(line), "\r"), nil
		}
		if n == 1 {
			line = append(line, b[0])
		}
		if err != nil {
			return "", err
		}
	}
}
