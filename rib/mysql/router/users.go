package router

type users struct{}

func openUsers(string) (*users, error) { return nil, nil }
