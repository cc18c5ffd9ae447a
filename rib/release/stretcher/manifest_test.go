package stretcher

import (
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"kaname.dev/kaname/fault"
)

const readme = `
src: s3://example.com/app.tar.gz
checksum: e0840daaa97cd2cf2175f9e5d133ffb3324a2b93
dest: /home/stretcher/app
dest_mode: 0711
commands:
  pre:
    - echo 'staring deploy'
  post:
    - echo 'deploy done'
  success:
    - echo 'deploy success'
  failure:
    - echo 'deploy failed!!'
    - cat >> /path/to/failure.log
excludes:
  - "*.pid"
  - "*.socket"
exclude_from: exclude.list
sync_strategy: rsync
`

func TestParseReadsEveryKeyOfTheReadme(t *testing.T) {
	m, err := Parse("deploy.yml", []byte(readme), os.LookupEnv)
	if err != nil {
		t.Fatal(err)
	}
	mode := Mode(0o711)
	want := &Manifest{
		Src: "s3://example.com/app.tar.gz", Checksum: "e0840daaa97cd2cf2175f9e5d133ffb3324a2b93",
		Dest: "/home/stretcher/app", DestMode: &mode,
		Commands: Commands{
			Pre: []string{"echo 'staring deploy'"}, Post: []string{"echo 'deploy done'"},
			Success: []string{"echo 'deploy success'"},
			Failure: []string{"echo 'deploy failed!!'", "cat >> /path/to/failure.log"},
		},
		Excludes: []string{"*.pid", "*.socket"}, ExcludeFrom: "exclude.list", SyncStrategy: Rsync,
	}
	if d := cmp.Diff(want, m); d != "" {
		t.Error(d)
	}
}

func TestParseFillsTheEnvironment(t *testing.T) {
	env := map[string]string{"SRC": "http://example.com/a.tar"}
	lookup := func(k string) (string, bool) { v, ok := env[k]; return v, ok }
	text := []byte(`
src: '{{ must_env "SRC" }}'
dest: '{{ env "DEST" "/home/stretcher/app" }}'
`)
	m, err := Parse("m.yml", text, lookup)
	if err != nil {
		t.Fatal(err)
	}
	if m.Src != env["SRC"] || m.Dest != "/home/stretcher/app" || *m.DestMode != 0o755 || m.SyncStrategy != Rsync {
		t.Errorf("got %+v", m)
	}
	delete(env, "SRC")
	if _, err := Parse("m.yml", text, lookup); !fault.Is(err, fault.KindInvalid) || !strings.Contains(err.Error(), "SRC is not set") {
		t.Errorf("missing variable: %v", err)
	}
}

func TestParseRefuses(t *testing.T) {
	for name, c := range map[string]struct{ text, says string }{
		"no dest":          {"src: file:///a\n", "dest is required"},
		"relative dest":    {"src: file:///a\ndest: app\n", "not an absolute directory"},
		"root as dest":     {"src: file:///a\ndest: /x/..\n", "not an absolute directory"},
		"short checksum":   {"src: file:///a\ndest: /b\nchecksum: abcd\n", "none of md5"},
		"no hex":           {"src: file:///a\ndest: /b\nchecksum: " + strings.Repeat("z", 40) + "\n", "not hexadecimal"},
		"strategy":         {"src: file:///a\ndest: /b\nsync_strategy: cp\n", "neither rsync nor mv"},
		"exclude outside":  {"src: file:///a\ndest: /b\nexclude_from: ../x\n", "inside the archive"},
		"mode":             {"src: file:///a\ndest: /b\ndest_mode: 0999\n", "octal mode"},
		"dest alone":       {"dest: /b\n", "nothing to put there"},
		"mv with excludes": {"src: file:///a\ndest: /b\nsync_strategy: mv\nexcludes: ['*.pid']\n", "need sync_strategy rsync"},
		"not yaml":         {"{", ""},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Parse("m.yml", []byte(c.text), os.LookupEnv)
			if !fault.Is(err, fault.KindInvalid) || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), "m.yml") {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestParseWarnsOfAKeyThatStretcherIgnores(t *testing.T) {
	m, err := Parse("m.yml", []byte("src: file:///a\ndest: /b\ncheksum: 00\n"), os.LookupEnv)
	if err != nil {
		t.Fatal(err)
	}
	if m.Dest != "/b" || len(m.Warnings) != 1 || !strings.Contains(m.Warnings[0], "cheksum") {
		t.Errorf("got %+v", m)
	}
}

func TestVerify(t *testing.T) {
	data := strings.Repeat("kaname", 10_000)
	m5, s1, s2, s5 := md5.Sum([]byte(data)), sha1.Sum([]byte(data)), sha256.Sum256([]byte(data)), sha512.Sum512([]byte(data))
	for _, sum := range [][]byte{m5[:], s1[:], s2[:], s5[:]} {
		m := &Manifest{Src: "file:///a", Checksum: strings.ToUpper(hex.EncodeToString(sum))}
		if _, err := io.Copy(io.Discard, m.Verify(strings.NewReader(data))); err != nil {
			t.Errorf("%d bytes of checksum: %v", len(sum), err)
		}
		if _, err := io.Copy(io.Discard, m.Verify(strings.NewReader(data+"x"))); !fault.Is(err, fault.KindCorrupt) {
			t.Errorf("%d bytes of checksum, wrong data: %v", len(sum), err)
		}
	}
}
