package rotatetest

import (
	"github.com/keyrot/keyrot/pkg/rotate"
)

// AddUser creates a user; path must begin and end with a slash ("" is "/"). A
// user of that name must not exist. A user created again gets another id.
func (a *AWS) AddUser(name, path string, tags map[string]string) rotate.User {
	now := a.lock()
	defer a.mu.Unlock()
	if a.users[name] != nil {
		panic("rotatetest: user " + name + " exists")
	}
	if path == "" {
		path = "/"
	}
	u := &user{User: rotate.User{
		Name: name,
		ID:   a.unique("AIDA", a.dice("user "+name, now)),
		ARN:  "arn:aws:iam::123456789012:user" + path + name,
		Path: path,
		Tags: tags,
	}}
	a.users[name] = u
	return u.User
}

// DeleteUser deletes a user. ErrNoUser if there is none, ErrDeleteConflict if
// it has keys.
func (a *AWS) DeleteUser(name string) error {
	a.lock()
	defer a.mu.Unlock()
	u := a.users[name]
	if u == nil {
		return rotate.ErrNoUser
	}
	for _, k := range u.keys {
		if k.truth() != statusGone {
			return ErrDeleteConflict
		}
	}
	delete(a.users, name)
	return nil
}

// Users returns all users, unordered.
func (a *AWS) Users() []rotate.User {
	a.lock()
	defer a.mu.Unlock()
	var all []rotate.User
	for _, u := range a.users {
		all = append(all, u.User)
	}
	return all
}

// RenameUser gives a user another name, as UpdateUser does: id and keys stay.
// There must be a user of the one name and none of the other.
func (a *AWS) RenameUser(from, to string) {
	a.lock()
	defer a.mu.Unlock()
	u := a.users[from]
	if u == nil || a.users[to] != nil {
		panic("rotatetest: user " + from + " cannot be called " + to)
	}
	delete(a.users, from)
	u.Name, u.ARN = to, "arn:aws:iam::123456789012:user"+u.Path+to
	a.users[to] = u
}
