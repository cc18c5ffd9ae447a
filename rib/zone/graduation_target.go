package zone

import (
	"context"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"

	"kaname.dev/kaname/action"
	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/host"
	"kaname.dev/kaname/rib/zone/graduate"
	"kaname.dev/kaname/rib/zone/graduate/namedconf"
	"kaname.dev/kaname/rib/zone/server"
)

// targetIn says which configuration is written, and whereto.
type targetIn struct {
	confIn

	Folder string `name:"folder" help:"folder on the new server for zone files; by default the usual one" ja:"新サーバーのゾーンファイルのフォルダ"`
	Config string `name:"config" help:"folder on the new server that the files will be copied to; by default /etc/KIND/imported" ja:"新サーバーで設定ファイルを置くフォルダ"`
	Write  string `name:"write" help:"folder on the core that the files are written to, secrets included; made when missing" ja:"コア上の書き出し先フォルダ（秘密鍵を含む）"`
}

// targetOut is the configuration of the new server, without secrets.
type targetOut struct {
	View     string             `json:"view,omitempty"`
	Files    []server.File      `json:"files"`
	Commands []string           `json:"commands,omitempty"`
	Notes    []string           `json:"notes,omitempty"`
	Lacks    []graduate.Finding `json:"lacks,omitempty"` // what the new server cannot have
	Written  []string           `json:"written,omitempty"`
}

func (r *service) planTarget(_ context.Context, in targetIn) (action.Plan, error) {
	if in.Write == "" {
		return action.Plan{Summary: "print the configuration of the new server; nothing is written"}, nil
	}
	if !filepath.IsAbs(in.Write) {
		return action.Plan{}, notAbsolute(in.Write)
	}
	return action.Plan{
		Summary:  "write the configuration of the new server, with the secrets of its keys",
		Steps:    []action.Step{{Host: r.node.Host, What: "write files of mode 0600 into " + in.Write + "; those that stand there stay"}},
		Warnings: []string{"the files hold TSIG secrets: copy them to the new server and remove them here"},
	}, nil
}

func notAbsolute(dir string) error {
	return fault.Invalid(fmt.Sprintf("folder %q is not absolute", dir)).Try("name a folder on the core: --write /root/graduate")
}

func (r *service) target(ctx context.Context, _ *action.Run, in targetIn) (targetOut, error) {
	if in.Write != "" && !filepath.IsAbs(in.Write) {
		return targetOut{}, notAbsolute(in.Write)
	}
	c, err := in.read(ctx)
	if err != nil {
		return targetOut{}, err
	}
	view, err := in.view(c)
	if err != nil {
		return targetOut{}, err
	}
	whole, found, err := recipe(c, in.For, view, in.Folder, in.Config)
	if err != nil {
		return targetOut{}, err
	}
	out := targetOut{View: view, Notes: whole.Notes, Lacks: merge(nil, found)}
	if in.Write != "" {
		if err := secretsThere(c); err != nil {
			return targetOut{}, err
		}
		if out.Written, err = writeFiles(in.Write, whole.Files); err != nil {
			return targetOut{}, err
		}
	}
	// What is shown is made of keys that have no secret: nothing has to be found and
	// taken out of a text.
	for i := range c.Keys {
		c.Keys[i].Secret = "SECRET"
	}
	shown, _, err := recipe(c, in.For, view, in.Folder, in.Config)
	if err != nil {
		return targetOut{}, err
	}
	out.Files = shown.Files
	for _, words := range shown.Commands {
		out.Commands = append(out.Commands, strings.Join(words, " "))
	}
	return out, nil
}

// secretsThere refuses a configuration from which the secrets were taken out.
func secretsThere(c *namedconf.Config) error {
	for i := range c.Keys {
		if strings.Trim(c.Keys[i].Secret.Reveal(), "?") == "" {
			return fault.Invalid("the secret of key " + c.Keys[i].Name + " was left out of the configuration").Try("print it with the secrets: named-checkconf -p > all.conf; and remove all.conf when the files are written")
		}
	}
	return nil
}

// writeFiles writes files into a folder, under their base names, for their owner only.
// A file that is there with other contents is refused, before anything is written.
func writeFiles(dir string, files []server.File) ([]string, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fault.Denied("folder " + dir + " cannot be made").Because(err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fault.Denied("folder " + dir + " cannot be opened").Because(err)
	}
	defer root.Close()
	for _, f := range files {
		base := path.Base(f.Path)
		_, err := root.Lstat(base)
		if err == nil {
			if text, err := root.ReadFile(base); err != nil || string(text) != f.Text {
				return nil, fault.Exists("file " + filepath.Join(dir, base) + " is there and differs").Try("name another folder, or remove it")
			}
		}
	}
	var written []string
	for _, f := range files {
		base := path.Base(f.Path)
		if err := host.WriteBytes(root, base, 0o600, []byte(f.Text)); err != nil {
			return written, fault.Denied("file " + filepath.Join(dir, base) + " cannot be written").Because(err)
		}
		written = append(written, filepath.Join(dir, base))
	}
	return written, nil
}
