package neutron

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// replay is a Neutron that answers what a real one (Zed) answered, in pages.
type replay struct {
	*httptest.Server

	mu    sync.Mutex
	asked []string // paths
	// before may answer a request in another way; it tells whether it did.
	before func(w http.ResponseWriter, r *http.Request) bool
	edit   func(path string, o map[string]any) // each object
}

func newReplay(t *testing.T) *replay {
	t.Helper()
	r := &replay{}
	r.Server = httptest.NewServer(r)
	t.Cleanup(r.Close)
	return r
}

// ServeHTTP answers /v2.0/...
func (p *replay) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := strings.TrimPrefix(r.URL.Path, "/v2.0/")
	p.mu.Lock()
	p.asked = append(p.asked, path)
	p.mu.Unlock()
	if p.before != nil && p.before(w, r) {
		return
	}
	raw, err := os.ReadFile(filepath.Join("testdata/api", strings.ReplaceAll(path, "/", "_")+".json"))
	if err != nil {
		http.Error(w, `{"NeutronError": {"message": "The resource could not be found."}}`, http.StatusNotFound)
		return
	}
	var all map[string][]map[string]any
	if err := json.Unmarshal(raw, &all); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	for key, list := range all {
		if p.edit != nil {
			for _, o := range list {
				p.edit(path, o)
			}
		}
		_ = json.NewEncoder(w).Encode(p.cut(r.URL, key, list))
		return
	}
}

// cut is a page, with the link to the next one as Neutron writes it behind a proxy: to a
// host that is none.
func (*replay) cut(u *url.URL, key string, list []map[string]any) map[string]any {
	q := u.Query()
	if marker := q.Get("marker"); marker != "" {
		at := slices.IndexFunc(list, func(o map[string]any) bool { return o["id"] == marker })
		list = list[at+1:]
	}
	limit, err := strconv.Atoi(q.Get("limit"))
	if err != nil || len(list) <= limit {
		return map[string]any{key: list}
	}
	q.Set("marker", list[limit-1]["id"].(string))
	link := map[string]any{"rel": "next", "href": "http://inside.invalid:9696" + u.Path + "?" + q.Encode()}
	return map[string]any{key: list[:limit], key + "_links": []any{link}}
}
