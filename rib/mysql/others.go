package mysql

import (
	"context"
	"fmt"
	"io"

	"kaname.dev/kaname/action"
	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/rib/mysql/mha"
)

// maxForeign bounds a foreign configuration file in bytes.
const maxForeign = 1 << 20

type importIn struct {
	File    action.File `name:"file" arg:"" help:"MHA's configuration file of an application" ja:"MHA のアプリケーション設定ファイル" complete:"files"`
	Global  action.File `name:"global" help:"MHA's masterha_default.cnf" ja:"MHA の共通設定ファイル" complete:"files"`
	Options string      `name:"options" help:"command line of mysqlfailover or mysqlrpladmin" ja:"mysqlfailover・mysqlrpladmin のコマンドライン"`
	Name    string      `name:"name" default:"shop" help:"what the topology shall be called" ja:"トポロジー名"`
	Primary string      `name:"primary" help:"server that takes the writes now, where the file does not say" ja:"現在のプライマリ"`
}

func (r *service) importOthers(_ context.Context, run *action.Run, in importIn) ([]mha.Row, error) {
	var found *mha.Import
	switch {
	case in.File.Given() == (in.Options != ""):
		return nil, fault.Invalid("either a file of MHA or --options is needed").Try("kaname mysql import /etc/masterha/app1.cnf")
	case in.Options != "":
		words, err := mha.Words(in.Options)
		if err != nil {
			return nil, fault.Invalid("the command line cannot be read").Because(err)
		}
		found = mha.CommandLine(words)
	default:
		app, err := readForeign(in.File)
		if err != nil {
			return nil, err
		}
		global, err := readForeign(in.Global)
		if err != nil {
			return nil, err
		}
		found = mha.Config(app, global)
	}
	if len(found.Observers) > 0 {
		run.Note(fmt.Sprintf("hosts of secondary checks, which kaname does not need: %v", found.Observers))
	}
	run.Note("to take charge, with the names that the servers have in kaname: " + found.Adopt(in.Name, in.Primary))
	return found.Rows, nil
}

// readForeign reads a file that was handed in; the zero File is none.
func readForeign(f action.File) (mha.File, error) {
	if !f.Given() {
		return mha.File{}, nil
	}
	data, err := io.ReadAll(io.LimitReader(f.Reader, maxForeign+1))
	if err != nil {
		return mha.File{}, err
	}
	if len(data) > maxForeign {
		return mha.File{}, fault.Invalid(f.Name + " is larger than a MiB; it is no configuration file")
	}
	return mha.File{Name: f.Name, Data: data}, nil
}
