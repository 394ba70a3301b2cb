package publish

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/keyrot/keyrot/internal/disk"
	"github.com/keyrot/keyrot/pkg/rotate"
)

// The formats of a File, by the names the configuration uses.
var formats = map[string]string{
	"ini":  "[default]\naws_access_key_id = ${ACCESS_KEY_ID}\naws_secret_access_key = ${SECRET_ACCESS_KEY}\n",
	"env":  "AWS_ACCESS_KEY_ID=${ACCESS_KEY_ID}\nAWS_SECRET_ACCESS_KEY=${SECRET_ACCESS_KEY}\n",
	"json": "{\"access_key_id\":\"${ACCESS_KEY_ID}\",\"secret_access_key\":\"${SECRET_ACCESS_KEY}\",\"expiration\":\"${EXPIRATION}\"}\n",
}

// File writes the pair into a file, which is replaced as a whole: readers see
// the old content or the new one. Its folder must exist, and nobody but root,
// the user keyrot runs as and Owner may be able to change it or those above it:
// they could have the pair written elsewhere. A symbolic link is replaced, not
// followed. A file that some readers would go on reading when another one has
// taken its place is refused (see InPlace).
type File struct {
	Label string // Name; default file
	Path  string // ${USER} is expanded
	// Format is ini (an AWS credentials file), env or json. Default ini,
	// unless Text is given.
	Format string
	// Text is the content, in which ${ACCESS_KEY_ID}, ${SECRET_ACCESS_KEY},
	// ${USER}, ${CREATED}, ${EXPIRATION} and, with a Region, ${SES_SMTP_USERNAME} and
	// ${SES_SMTP_PASSWORD} are expanded. ${NAME_URL} is NAME as a part of a URL.
	// Default: Format's.
	Text   string
	Region string // of SES; default none
	// Mode are the permissions. Default 0600.
	Mode fs.FileMode
	// Owner is USER, USER:GROUP or :GROUP, by name or number. Default: who
	// keyrot runs as.
	Owner string
	// InPlace: the file is written into instead, for readers that hold on to it,
	// such as a container in which it is mounted by itself. Those that come
	// meanwhile can see half of it. It must belong to the user of Owner.
	InPlace bool
}

// Name implements rotate.Publisher.
func (f *File) Name() string { return cmp.Or(f.Label, "file") }

// Check reports what cannot work.
func (f *File) Check() error {
	var errs []error
	if !filepath.IsAbs(f.Path) {
		errs = append(errs, fmt.Errorf("path: %q is not absolute", f.Path))
	}
	if _, err := CheckName(f.Path); err != nil {
		errs = append(errs, fmt.Errorf("path: %w", err))
	}
	switch {
	case f.Text != "" && f.Format != "":
		errs = append(errs, errors.New("text, format: give one of them"))
	case f.Text == "" && formats[f.format()] == "":
		errs = append(errs, fmt.Errorf("format: %q is not one of ini, env, json", f.Format))
	}
	if _, err := Expand(f.text(), variables(rotate.Credential{}, f.Region)); err != nil {
		errs = append(errs, fmt.Errorf("text: %w", err))
	}
	if f.Mode&^0o777 != 0 {
		errs = append(errs, fmt.Errorf("mode: %04o is more than permissions", f.Mode))
	}
	if f.Mode&0o007 != 0 {
		errs = append(errs, fmt.Errorf("mode: %04o opens the file to everybody", f.Mode))
	}
	return errors.Join(errs...)
}

func (f *File) format() string { return cmp.Or(f.Format, "ini") }
func (f *File) text() string   { return cmp.Or(f.Text, formats[f.format()]) }

// Traits implements rotate.Publisher.
func (f *File) Traits() rotate.Traits {
	return rotate.Traits{Compares: true, Expires: strings.Contains(f.text(), "${"+varExpiration)}
}

// Publish implements rotate.Publisher.
func (f *File) Publish(_ context.Context, c rotate.Credential) error {
	if c.User == "." || c.User == ".." || strings.ContainsAny(c.User, `/\`) {
		return fmt.Errorf("user %q cannot be part of a path", c.User)
	}
	path, err := named(f.Path, c)
	if err != nil {
		return err
	}
	// No format quotes: a value that would need it is not written.
	if strings.ContainsAny(c.KeyID+c.Secret.Reveal(), "\"'\\\n\r$ #") {
		return errors.New("the pair holds a character that no format can take")
	}
	text, err := Expand(f.text(), variables(c, f.Region))
	if err != nil {
		return err
	}
	uid, gid, err := owner(f.Owner)
	if err != nil {
		return err
	}
	var also []int
	if uid >= 0 {
		also = []int{uid}
	}
	dir, err := disk.OpenDir(filepath.Dir(path), false, also...)
	if err != nil {
		return err
	}
	defer func() { _ = dir.Close() }()
	content := disk.Content{Text: []byte(text), Mode: cmp.Or(f.Mode, 0o600), UID: uid, GID: gid}
	name, write := filepath.Base(path), disk.Overwrite
	if !f.InPlace {
		if err := replaceable(dir, path); err != nil {
			return err
		}
		write = disk.Replace
	}
	if disk.Same(dir, name, content) {
		return nil
	}
	return write(dir, name, content)
}

// replaceable refuses a file whose readers would not all see another one in its
// place: a confirmation would be untrue.
func replaceable(dir *os.Root, path string) error {
	if why := disk.Pinned(dir, filepath.Base(path)); why != "" {
		return fmt.Errorf("%s %s, so that readers would not see a file that takes its place; "+
			"set in_place: true for this target, or mount the folder instead of the file", path, why)
	}
	return nil
}

// Held returns an error for each file of the target that exists and whose
// readers would not see a new key, before there is one. Where Path differs from
// user to user, only the files of those are looked at that includes returns true for.
func (f *File) Held(includes func(user string) bool) error {
	if f.InPlace {
		return nil
	}
	pattern, err := Expand(strings.NewReplacer(`*`, `\*`, `?`, `\?`, `[`, `\[`, `\`, `\\`).Replace(f.Path), map[string]string{varUser: "*"})
	if err != nil {
		return err
	}
	paths, err := filepath.Glob(pattern)
	if err != nil {
		return err
	}
	text, _, perUser := strings.Cut(f.Path, "${"+varUser+"}")
	before, err := Expand(text, nil)
	if err != nil {
		return err
	}
	var errs []error
	for _, path := range paths {
		if perUser {
			user := userIn(f.Path, path, len(before))
			if user == "" || !includes(user) {
				continue
			}
		}
		dir, err := os.OpenRoot(filepath.Dir(path))
		if err != nil {
			continue // it is said when it is written
		}
		errs = append(errs, replaceable(dir, path), dir.Close())
	}
	return errors.Join(errs...)
}

// userIn returns the user for whom the path is what the text expands to, and
// whose name begins at an index of it; "" if there is none.
func userIn(text, path string, at int) string {
	for end := at + 1; end <= len(path); end++ {
		if p, err := Expand(text, map[string]string{varUser: path[at:end]}); err == nil && p == path {
			return path[at:end]
		}
	}
	return ""
}

// owner resolves USER:GROUP; -1 is "as it is".
func owner(s string) (uid, gid int, err error) {
	uid, gid = -1, -1
	name, group, _ := strings.Cut(s, ":")
	if name != "" {
		if uid, err = strconv.Atoi(name); err != nil {
			u, err := user.Lookup(name)
			if err != nil {
				return -1, -1, fmt.Errorf("owner: %w", err)
			}
			if uid, err = strconv.Atoi(u.Uid); err != nil {
				return -1, -1, fmt.Errorf("owner: user id %q is no number", u.Uid)
			}
		}
	}
	if group != "" {
		if gid, err = strconv.Atoi(group); err != nil {
			g, err := user.LookupGroup(group)
			if err != nil {
				return -1, -1, fmt.Errorf("owner: %w", err)
			}
			if gid, err = strconv.Atoi(g.Gid); err != nil {
				return -1, -1, fmt.Errorf("owner: group id %q is no number", g.Gid)
			}
		}
	}
	return uid, gid, nil
}
