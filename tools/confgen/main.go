// Command confgen writes dist/kaname.yaml: every key of the configuration with its
// default and meaning, as "kaname config show --reference" prints it. It runs the
// freshly built command, since the list of ribs is main's.
package main

import (
	"fmt"
	"os"
	"os/exec"
)

func main() {
	cmd := exec.Command("go", "run", ".", "config", "show", "--reference")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err == nil {
		err = os.WriteFile("dist/kaname.yaml", out, 0o644)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "confgen:", err)
		os.Exit(1)
	}
}
