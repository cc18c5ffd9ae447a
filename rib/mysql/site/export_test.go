package site

// Complete reports whether the server, as a replica, has all that it ever acknowledged.
func (s *Site) Complete() bool { return s.shortOf() == "" }
