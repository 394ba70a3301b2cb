// Package trust says whether anybody but root and the user that this process
// runs as can change what a path leads to: the file itself, each folder above
// it, each symbolic link on the way. Settings, keys and tokens are believed, so
// they must not be in somebody else's hands.
//
// It makes system calls and imports nothing else: get-key asks before most of
// the program is initialised (docs/adr/0007-get-key-speed.md).
package trust

// Error says who else can change what a path leads to.
type Error struct {
	Path string   // as it was asked for
	Why  []string // what is wrong, from the top folder down
	Fix  []string // a command for each; "" where none does no harm
}

// Error implements error.
func (e *Error) Error() string {
	return e.Path + " can be changed by others: " + join(e.Why, "; ")
}

// Hint returns the commands that put it right. Somebody else's folder stays his:
// then the file has to be elsewhere.
func (e *Error) Hint() string {
	for _, fix := range e.Fix {
		if fix == "" {
			return "use a copy in a folder that belongs to root or to the user that runs keyrot, such as /etc/keyrot"
		}
	}
	return join(e.Fix, " && ")
}

func join(parts []string, between string) (s string) {
	for i, p := range parts {
		if i > 0 {
			s += between
		}
		s += p
	}
	return s
}

// GroupVariable names a group (a number) whose members are trusted as this user
// is: a volume of Kubernetes with an fsGroup can be written by that group.
const GroupVariable = "KEYROT_TRUSTED_GROUP"

// Entry is what a judgement needs to know of a file or folder.
type Entry struct {
	Owner, Group int
	Mode         uint32 // permissions
	Dir          bool
	Sticky       bool // only owners may rename or remove what is in the folder
	Link, Device bool
}

// Judge returns what is wrong with the entry at the path, and the command that
// puts it right, if one does no harm; "" if only the owners can change it. In a sticky folder
// everybody may make entries, but nobody can replace those of the owners.
func Judge(path string, e Entry, owners ...int) (why, fix string) {
	if e.Device { // only root makes them
		return "", ""
	}
	ours := false
	for _, o := range owners {
		ours = ours || o == e.Owner
	}
	if e.Group == trustedGroup() {
		e.Mode &^= 0o020
	}
	switch {
	case !ours && (e.Dir || e.Link):
		return path + " belongs to user " + number(e.Owner, 10), ""
	case !ours:
		return path + " belongs to user " + number(e.Owner, 10), "chown " + number(owners[len(owners)-1], 10) + " " + quote(path)
	case e.Link || e.Mode&0o022 == 0 || e.Dir && e.Sticky:
		return "", ""
	}
	return path + " has mode 0" + number(int(e.Mode&0o777), 8), "chmod go-w " + quote(path)
}

// digits returns the number that the text is, -1 if it is none.
func digits(text string) int {
	n := 0
	for i := range len(text) {
		if text[i] < '0' || text[i] > '9' || n > 1<<31 {
			return -1
		}
		n = 10*n + int(text[i]-'0')
	}
	if text == "" {
		return -1
	}
	return n
}

func number(n, base int) string {
	if n < base {
		return string(rune('0' + n))
	}
	return number(n/base, base) + string(rune('0'+n%base))
}

// quote writes a path so that a shell takes it as one word.
func quote(path string) string {
	plain := true
	quoted := "'"
	for i := range len(path) {
		c := path[i]
		switch {
		case c == '\'':
			plain, quoted = false, quoted+`'\'`
		case c != '/' && c != '.' && c != '-' && c != '_' && (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z'):
			plain = false
		}
		quoted += path[i : i+1]
	}
	if plain {
		return path
	}
	return quoted + "'"
}
