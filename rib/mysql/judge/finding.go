package judge

// Finding is something about a member that does not fit.
type Finding struct {
	Member string `json:"member"`
	What   string `json:"what"`
	Why    string `json:"why"`
	Try    string `json:"try,omitempty"`
}
