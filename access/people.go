package access

import (
	"context"
	"regexp"
	"time"

	"kaname.dev/kaname/fault"
)

// person is a document of the bucket "users", keyed by name.
type person struct {
	Role     Role      `json:"role"`
	Password string    `json:"password"` // PHC string
	Created  time.Time `json:"created"`
	Changed  time.Time `json:"changed"` // of password or role; sessions begun before are void
}

// Person is somebody who can sign in.
type Person struct {
	Name    string    `json:"name"`
	Role    Role      `json:"role"`
	Created time.Time `json:"created"`
	Changed time.Time `json:"changed"`
}

var nameShape = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,63}$`)

func checkName(name string) error {
	if !nameShape.MatchString(name) {
		return fault.Invalid("user name \"" + name + "\" is not allowed").Try("use 1 to 64 of a-z 0-9 . _ - and begin with a letter or digit")
	}
	return nil
}

func noUser(name string) *fault.Fault {
	return fault.NotFound("user " + name + " does not exist").Try("see: kaname user list")
}

// AddUser makes a person who can sign in.
func (a *Access) AddUser(ctx context.Context, name, password string, role Role) (Person, error) {
	s, err := a.store()
	if err != nil {
		return Person{}, err
	}
	if err := checkName(name); err != nil {
		return Person{}, err
	}
	if err := checkPassword(password); err != nil {
		return Person{}, err
	}
	now := time.Now().UTC()
	p := person{Role: role, Password: hashPassword(password), Created: now, Changed: now}
	if _, err := s.users.Create(ctx, name, p); fault.Is(err, fault.KindExists) {
		return Person{}, fault.Exists("user " + name + " exists already").Try("change it with: kaname user role, kaname user password")
	} else if err != nil {
		return Person{}, err
	}
	return Person{Name: name, Role: role, Created: now, Changed: now}, nil
}

// Users returns all people, sorted by name.
func (a *Access) Users(ctx context.Context) ([]Person, error) {
	s, err := a.store()
	if err != nil {
		return nil, err
	}
	docs, err := s.users.List(ctx, "")
	if err != nil {
		return nil, err
	}
	people := make([]Person, 0, len(docs))
	for _, d := range docs {
		people = append(people, Person{Name: d.Key, Role: d.Value.Role, Created: d.Value.Created, Changed: d.Value.Changed})
	}
	return people, nil
}

// change alters a person and thereby ends their sessions.
func (a *Access) change(ctx context.Context, name string, alter func(*person)) (Person, error) {
	s, err := a.store()
	if err != nil {
		return Person{}, err
	}
	if err := checkName(name); err != nil {
		return Person{}, err
	}
	doc, err := s.users.Update(ctx, name, func(p *person) error {
		if p.Password == "" {
			return noUser(name)
		}
		alter(p)
		p.Changed = time.Now().UTC()
		return nil
	})
	if err != nil {
		return Person{}, err
	}
	return Person{Name: name, Role: doc.Value.Role, Created: doc.Value.Created, Changed: doc.Value.Changed}, nil
}

// SetRole gives a person another role. Their sessions end.
func (a *Access) SetRole(ctx context.Context, name string, role Role) (Person, error) {
	return a.change(ctx, name, func(p *person) { p.Role = role })
}

// SetPassword gives a person another password. Their sessions end.
func (a *Access) SetPassword(ctx context.Context, name, password string) (Person, error) {
	if err := checkPassword(password); err != nil {
		return Person{}, err
	}
	hash := hashPassword(password)
	return a.change(ctx, name, func(p *person) { p.Password = hash })
}

// RemoveUser removes a person. Their sessions end.
func (a *Access) RemoveUser(ctx context.Context, name string) (Person, error) {
	s, err := a.store()
	if err != nil {
		return Person{}, err
	}
	if err := checkName(name); err != nil {
		return Person{}, err
	}
	doc, err := s.users.Get(ctx, name)
	if fault.Is(err, fault.KindNotFound) {
		return Person{}, noUser(name)
	} else if err != nil {
		return Person{}, err
	}
	if err := s.users.Delete(ctx, doc); err != nil {
		return Person{}, err
	}
	return Person{Name: name, Role: doc.Value.Role, Created: doc.Value.Created, Changed: doc.Value.Changed}, nil
}
