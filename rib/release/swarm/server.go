package swarm

import (
	"bufio"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"sync"

	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/rib/release/swarm/schedule"
)

// ServerOptions says how a host gives.
type ServerOptions struct {
	// Caller returns the name of the host that makes a request, from its verified
	// certificate.
	Caller func(*http.Request) (string, error)
	Limits *Limits // nil: unlimited
	Stats  *Stats  // nil: not counted
	Log    *slog.Logger
	Policy schedule.Policy
}

// Server gives chunks of the packs shared on it. It is safe for concurrent use.
type Server struct {
	options ServerOptions

	mu     sync.Mutex // guards shares
	shares map[string]*share
}

// NewServer makes a server on which no pack is shared yet.
func NewServer(o ServerOptions) *Server {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Server{options: o, shares: map[string]*share{}}
}

// Register puts the server's routes, which begin with /release/packs/, on the mux of
// the peer listener.
func (s *Server) Register(mux *http.ServeMux) {
	mux.HandleFunc("GET "+pathChunks, s.chunks)
	mux.HandleFunc("GET "+pathIndex, s.index)
}

// ShareSpec says to whom a pack is given.
type ShareSpec struct {
	// Hosts are those that may ask; others are refused.
	Hosts []string
	// Everyone lets every host of the plane ask, whatever Hosts says.
	Everyone bool
	// Origin says that the whole pack is here from the start and that each chunk should
	// be given once before any is repeated.
	Origin bool
}

// Share gives a pack, complete or still being received, to the hosts until stop is called,
// which waits for the connections to end. A pack can be shared once at a time.
func (s *Server) Share(p Pack, spec ShareSpec) (stop func(), err error) {
	if n := p.Chunks(); n < 1 || n > MaxChunks {
		return nil, fault.Invalid("pack " + short(p.ID()) + " has " + strconv.Itoa(n) + " chunks; 1 to " + strconv.Itoa(MaxChunks) + " can be shared")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.shares[p.ID()] != nil {
		return nil, fault.Exists("pack " + short(p.ID()) + " is shared already")
	}
	h := newShare(s.options, p, spec)
	s.shares[p.ID()] = h
	return sync.OnceFunc(func() {
		s.mu.Lock()
		delete(s.shares, p.ID())
		s.mu.Unlock()
		h.close()
	}), nil
}

// admit finds the shared pack and the asking host of a request, or answers it.
func (s *Server) admit(w http.ResponseWriter, r *http.Request) (*share, string) {
	host, err := s.options.Caller(r)
	if err != nil {
		refuse(w, fault.Denied("this listener is for hosts of the plane").Because(err))
		return nil, ""
	}
	id := r.PathValue("id")
	s.mu.Lock()
	h := s.shares[id]
	s.mu.Unlock()
	if h == nil {
		refuse(w, fault.NotFound("pack "+short(id)+" is not shared here"))
		return nil, ""
	}
	if !h.everyone && !h.hosts[host] {
		refuse(w, fault.Denied("host "+host+" does not take part in pack "+short(id)))
		return nil, ""
	}
	return h, host
}

func (s *Server) index(w http.ResponseWriter, r *http.Request) {
	h, _ := s.admit(w, r)
	if h == nil {
		return
	}
	b, err := h.pack.Index()
	if err != nil {
		refuse(w, err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(b)))
	if _, err := w.Write(b); err != nil {
		s.options.Log.Debug("a peer did not take the index", "pack", short(h.pack.ID()), "cause", err)
	}
}

func (s *Server) chunks(w http.ResponseWriter, r *http.Request) {
	h, host := s.admit(w, r)
	if h == nil {
		return
	}
	if r.Header.Get("Upgrade") != protocol {
		w.Header().Set("Upgrade", protocol)
		http.Error(w, "chunks travel by "+protocol+" only", http.StatusUpgradeRequired)
		return
	}
	conn, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		refuse(w, fault.Unsupported("chunks travel over HTTP/1.1 only").Because(err))
		return
	}
	defer conn.Close() //nolint:errcheck // everything written was flushed by its writer, or the connection is broken
	const switching = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: " + protocol + "\r\n\r\n"
	if _, err := conn.Write([]byte(switching)); err != nil {
		return
	}
	lowWater(conn)
	err = h.serve(r.Context(), host, conn, bufio.NewReaderSize(rw, 4<<10))
	if err != nil && !errors.Is(err, net.ErrClosed) {
		s.options.Log.Debug("an asker is gone", "pack", short(h.pack.ID()), "peer", host, "cause", err)
	}
}

// refuse answers with a fault as JSON.
func refuse(w http.ResponseWriter, err error) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(fault.HTTPStatus(err))
	if err := json.NewEncoder(w).Encode(fault.Of(err)); err != nil {
		return // the peer is gone; there is nobody to tell
	}
}

// short abbreviates an ID, which may be anything a peer sent, for people.
func short(id string) string {
	if len(id) > 12 {
		id = id[:12]
	}
	return strconv.QuoteToASCII(id)[1 : len(strconv.QuoteToASCII(id))-1]
}
