package profile

import (
	"fmt"
	"slices"
	"strings"

	"github.com/keyrot/keyrot/internal/awsconfig"
	"github.com/keyrot/keyrot/internal/getkey"
	"github.com/keyrot/keyrot/internal/hint"
)

const setting = "credential_process"

// Sources are the settings of a profile that give credentials.
var Sources = append(otherSources[:len(otherSources):len(otherSources)], setting)

// otherSources are those that compete with credential_process in a profile.
var otherSources = []string{
	"aws_access_key_id", "aws_secret_access_key", "aws_session_token", "aws_security_token", "role_arn", "source_profile", "credential_source",
	"web_identity_token_file", "sso_session", "sso_start_url", "sso_account_id", "sso_role_name", "login_session",
}

// wanted is what the profile must say.
type wanted struct {
	profile, user, command string
}

// file is a file that AWS clients read.
type file struct {
	path string
	text []byte
}

// refuse returns an error that names a line of the file.
func (f file) refuse(line int, advice, format string, args ...any) error {
	at := fmt.Sprintf(" (%s, line %d)", f.path, line)
	return hint.Wrap(getkey.Usagef(format+"%s", append(args, at)...), advice)
}

// parse reads the file as botocore does.
func (f file) parse() (*awsconfig.File, error) {
	parsed, err := awsconfig.Parse(f.text)
	if err != nil {
		return nil, hint.Wrap(getkey.Usagef("the AWS CLI cannot read %s: %w", f.path, err), "correct that line, then run this again")
	}
	return parsed, nil
}

// edit returns the content of the configuration file with the profile in it. By
// the rules of botocore every other value is what it was, and the profile's
// credentials come from the command and nothing else; otherwise it is an error.
func edit(config, credentials file, w wanted) ([]byte, error) {
	before, err := config.parse()
	if err != nil {
		return nil, err
	}
	if err := unshadowed(credentials, w); err != nil {
		return nil, err
	}
	for i, l := range before.Lines {
		if l.End == "\r" {
			return nil, config.refuse(i+1, "end the lines with a newline", "not all clients see that a line ends where only a carriage return is")
		}
	}
	section, err := sectionOf(config, before, w)
	if err != nil {
		return nil, err
	}
	for _, text := range versions(before, section, w) {
		if keeps(before, text, w) {
			return []byte(text), nil
		}
	}
	return nil, hint.Wrap(getkey.Usagef("no way of adding %s to %s leaves its other values as they are", setting, config.path),
		"write it yourself: credential_process = "+w.command)
}

// sectionOf returns the section of the profile, nil if there is none, or why it
// must not be changed.
func sectionOf(config file, f *awsconfig.File, w wanted) (*awsconfig.Section, error) {
	var found *awsconfig.Section
	for _, s := range f.Sections {
		switch is := s.Profile() == w.profile; {
		case is && found != nil:
			return nil, config.refuse(s.Line, "remove one of the sections",
				"profile %q has two sections, and not all clients use the same: [%s] in line %d and [%s]",
				w.profile, found.Name, found.Line, s.Name)
		case is && !plain(s.Name, w.profile):
			return nil, config.refuse(s.Line, "write "+header(w.profile)+" there",
				"[%s] is profile %q to the AWS CLI and not to all clients", s.Name, w.profile)
		case is:
			found = s
		case resembles(s.Name, w.profile):
			return nil, config.refuse(s.Line, "write "+header(w.profile)+" there",
				"[%s] is profile %q to some clients and not to the AWS CLI", s.Name, w.profile)
		}
	}
	judged := found
	if judged == nil {
		judged = &awsconfig.Section{}
	}
	for _, name := range otherSources {
		if o := f.Option(judged, name); o != nil {
			return nil, config.refuse(o.Line, "choose another name, or remove that setting", "profile %q already has %s", w.profile, name)
		}
	}
	if o := f.Option(judged, setting); o != nil {
		return found, mine(config, o, w)
	}
	return found, nil
}

// mine refuses a command that is not keyrot's for the same user.
func mine(config file, o *awsconfig.Option, w wanted) error {
	const advice = "choose another name, or remove that setting"
	user, ours := userOf(o.Value)
	switch {
	case o.End > o.Line:
		return config.refuse(o.Line, "remove the indent of those lines",
			"%s of profile %q continues up to line %d, because the lines below it are indented",
			setting, w.profile, o.End)
	case !ours:
		return config.refuse(o.Line, advice, "profile %q already runs another program", w.profile)
	case user != w.user:
		return config.refuse(o.Line, advice, "profile %q already hands out the key of user %q", w.profile, user)
	}
	return nil
}

// unshadowed refuses a credentials file with another source of credentials for
// the profile: it wins over the configuration file.
func unshadowed(credentials file, w wanted) error {
	f, err := credentials.parse()
	if err != nil {
		return err
	}
	for _, s := range f.Sections {
		if s.Name != w.profile {
			continue
		}
		for _, name := range Sources {
			if o := f.Option(s, name); o != nil {
				return credentials.refuse(o.Line, "choose another name, or remove that setting",
					"clients would not use the profile: [%s] of the credentials file has %s, which wins", s.Name, name)
			}
		}
	}
	return nil
}

// resembles reports whether a header that is not the profile's to botocore is so
// to a client that is less strict about spaces, quotes and what follows.
func resembles(section, profile string) bool {
	section, _, _ = strings.Cut(section, "]")
	words := strings.Fields(section)
	if len(words) > 0 && words[0] == "profile" {
		words = []string{strings.Trim(strings.Join(words[1:], " "), `"'`)}
		return words[0] == profile
	}
	return len(words) == 1 && words[0] == "default" && profile == "default"
}

// plain reports whether a header that is the profile's to botocore is so to all
// clients that can find the profile.
func plain(section, profile string) bool {
	return strings.Contains(profile, " ") || section == "profile "+profile || section == "profile\t"+profile || section == "default"
}

// header returns the header of the profile's section, as the AWS CLI writes it.
func header(profile string) string {
	switch {
	case profile == "default":
		return "[default]"
	case strings.Contains(profile, " "):
		return "[profile '" + profile + "']"
	}
	return "[profile " + profile + "]"
}

// versions returns the ways to write the profile, the best first.
func versions(f *awsconfig.File, s *awsconfig.Section, w wanted) []string {
	line := setting + " = " + w.command
	if s == nil {
		var more []string
		if n := len(f.Lines); n > 0 && strings.TrimSpace(f.Lines[n-1].Text) != "" {
			more = []string{""}
		}
		return []string{with(f, len(f.Lines), 0, append(more, header(w.profile), line)...)}
	}
	for _, o := range s.Options {
		switch {
		case o.Name == setting && o.Value == w.command:
			return []string{with(f, 0, 0)} // as it is
		case o.Name == setting:
			return []string{with(f, o.Line-1, 1, o.Indent+line)}
		}
	}
	first := with(f, s.Line, 0, line)
	if len(s.Options) == 0 {
		return []string{first}
	}
	// Where settings are indented, one without an indent has to come last: it
	// would swallow them. All clients read it so; the same indent is for a
	// header below that is indented, too.
	last := s.Options[len(s.Options)-1]
	return []string{first, with(f, last.End, 0, line), with(f, last.End, 0, last.Indent+line)}
}

// with returns the file's text with lines at the place of n lines after line at.
func with(f *awsconfig.File, at, n int, lines ...string) string {
	eol := "\n"
	if len(f.Lines) > 0 && f.Lines[0].End != "" {
		eol = f.Lines[0].End
	}
	var b strings.Builder
	for i, l := range f.Lines {
		if i == at {
			writeLines(&b, lines, eol)
		}
		if i < at || i >= at+n {
			b.WriteString(l.Text + l.End)
		}
		if l.End == "" && i < at { // the last
			b.WriteString(eol)
		}
	}
	if at == len(f.Lines) {
		writeLines(&b, lines, eol)
	}
	return b.String()
}

func writeLines(b *strings.Builder, lines []string, eol string) {
	for _, l := range lines {
		b.WriteString(l + eol)
	}
}

// keeps reads the text as botocore does and reports whether the profile runs the
// command, and all else is as before.
func keeps(before *awsconfig.File, text string, w wanted) bool {
	after, err := awsconfig.Parse([]byte(text))
	if err != nil {
		return false
	}
	were, _ := values(before, w.profile)
	are, commands := values(after, w.profile)
	return slices.Equal(were, are) && slices.Equal(commands, []string{w.command})
}

// values returns what a file says but for the profile's command, and that.
func values(f *awsconfig.File, profile string) (others [][3]string, commands []string) {
	for _, s := range append(slices.Clone(f.Sections), f.Defaults) {
		is := s.Profile() == profile
		if !is {
			others = append(others, [3]string{s.Name})
		}
		for _, o := range s.Options {
			if is && o.Name == setting {
				commands = append(commands, o.Value)
			} else {
				others = append(others, [3]string{s.Name, o.Name, o.Value})
			}
		}
	}
	return others, commands
}
