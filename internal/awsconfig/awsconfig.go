// Package awsconfig reads AWS configuration and credentials files exactly as
// botocore does, and so as boto3 and the AWS CLI do. Their grammar is that of
// Python's RawConfigParser: a line that is indented deeper than the setting
// above it continues that setting, whatever it looks like; = and : both
// separate; a comment has a line of its own; what is there twice is an error.
package awsconfig

import (
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// File is what a file says.
type File struct {
	Sections []*Section // as they first appear, without [DEFAULT]
	// Defaults are the settings of [DEFAULT], which every section has that does
	// not set them itself.
	Defaults *Section
	Lines    []Line
}

// Section is a section of a file.
type Section struct {
	Name    string
	Line    int // of its header; 0: there is none
	Options []*Option
}

// Option is a setting.
type Option struct {
	Name      string // in lower case
	Value     string // its lines are separated by \n
	Line, End int    // its first line and the last one that has a part of it
	Indent    string
	parts     []string
}

// Line is a line of a file.
type Line struct {
	Text string // without its end
	End  string // \n, \r\n, \r, or nothing if it is the last
}

// SyntaxError says why botocore refuses a file.
type SyntaxError struct {
	Line int // counted from 1
	Why  string
}

// Error implements error.
func (e *SyntaxError) Error() string { return fmt.Sprintf("line %d: %s", e.Line, e.Why) }

// Parse reads a file. The error is a *SyntaxError.
func Parse(text []byte) (*File, error) {
	p := parser{File: File{Defaults: &Section{Name: defaults}, Lines: split(string(text))}}
	for i, line := range p.Lines {
		if !utf8.ValidString(line.Text) {
			return nil, &SyntaxError{i + 1, "not UTF-8"}
		}
		if why := p.line(i+1, line.Text); why != "" {
			return nil, &SyntaxError{i + 1, why}
		}
	}
	for _, s := range append(p.Sections, p.Defaults) {
		for _, o := range s.Options {
			o.Value = strings.TrimRightFunc(strings.Join(o.parts, "\n"), isSpace)
		}
	}
	for _, s := range p.Sections { // what only [DEFAULT] has is not looked into
		for _, o := range slices.Concat(s.Options, p.Defaults.Options) {
			if bad := badBlock(p.Option(s, o.Name).Value); bad != "" {
				return nil, &SyntaxError{o.Line, fmt.Sprintf("%q in the block of %s has no =", bad, o.Name)}
			}
		}
	}
	return &p.File, nil
}

const defaults = "DEFAULT"

type parser struct {
	File
	section *Section
	option  *Option
	indent  int // of the header or setting that the next line may continue
}

// line reads one line and returns what is wrong with it.
func (p *parser) line(n int, text string) (why string) {
	value := strings.TrimFunc(text, isSpace)
	switch {
	case value == "":
		if p.option != nil {
			p.option.parts = append(p.option.parts, "") // the ones at the end go again
		}
		return ""
	case value[0] == '#', value[0] == ';':
		return ""
	}
	before := text[:strings.Index(text, value)]
	indent := utf8.RuneCountInString(before)
	if p.option != nil && indent > p.indent {
		p.option.parts = append(p.option.parts, value)
		p.option.End = n
		return ""
	}
	p.indent = indent
	if end := strings.LastIndexByte(value, ']'); value[0] == '[' && end > 1 {
		return p.header(n, value[1:end])
	}
	if p.section == nil {
		if strings.HasPrefix(value, "\ufeff") {
			return "a byte order mark before the first section"
		}
		return "outside of any [section]"
	}
	at := strings.IndexAny(value, "=:")
	if at < 0 {
		return "neither a [section] nor a setting with a ="
	}
	name := strings.ToLower(strings.TrimRightFunc(value[:at], isSpace))
	if name == "" {
		return "a value without a name"
	}
	if earlier := p.section.own(name); earlier != nil {
		return fmt.Sprintf("%s is set in line %d already", name, earlier.Line)
	}
	p.option = &Option{Name: name, Line: n, End: n, Indent: before, parts: []string{strings.TrimFunc(value[at+1:], isSpace)}}
	p.section.Options = append(p.section.Options, p.option)
	return ""
}

// header begins the section of that name.
func (p *parser) header(n int, name string) (why string) {
	p.option = nil
	if name == defaults {
		p.section = p.Defaults
		if p.section.Line == 0 {
			p.section.Line = n
		}
		return ""
	}
	for _, s := range p.Sections {
		if s.Name == name {
			return fmt.Sprintf("the section [%s] begins in line %d already", name, s.Line)
		}
	}
	p.section = &Section{Name: name, Line: n}
	p.Sections = append(p.Sections, p.section)
	return ""
}

func (s *Section) own(name string) *Option {
	for _, o := range s.Options {
		if o.Name == name {
			return o
		}
	}
	return nil
}

// Option returns the section's setting of that name, or that of [DEFAULT]; nil if there is none.
func (f *File) Option(s *Section, name string) *Option {
	if o := s.own(name); o != nil {
		return o
	}
	return f.Defaults.own(name)
}

// Profile returns the profile that a section of a configuration file is, ""
// if none. What is in quotes, and the word profile, may be written in many ways.
func (s *Section) Profile() string {
	if s.Name == "default" {
		return s.Name
	}
	if strings.HasPrefix(s.Name, "profile") {
		if words, err := Words(s.Name); err == nil && len(words) == 2 {
			return words[1]
		}
	}
	return ""
}

// badBlock returns the first line of an indented block, such as that of s3,
// that is no setting, "" if there is none.
func badBlock(value string) string {
	if !strings.HasPrefix(value, "\n") {
		return ""
	}
	for line := range strings.FieldsFuncSeq(value, breaks) {
		if line = strings.TrimFunc(line, isSpace); line != "" && !strings.Contains(line, "=") {
			return line
		}
	}
	return ""
}

// split splits a text into lines as Python does when it reads a text file.
func split(text string) (lines []Line) {
	for text != "" {
		at, end := strings.IndexAny(text, "\r\n"), ""
		switch {
		case at < 0:
			at = len(text)
		case strings.HasPrefix(text[at:], "\r\n"):
			end = "\r\n"
		default:
			end = text[at : at+1]
		}
		lines = append(lines, Line{text[:at], end})
		text = text[at+len(end):]
	}
	return lines
}

// isSpace reports what Python's str.isspace does.
func isSpace(r rune) bool { return unicode.IsSpace(r) || '\x1c' <= r && r <= '\x1f' }

// breaks reports where Python's str.splitlines splits.
func breaks(r rune) bool { return strings.ContainsRune("\n\r\v\f\x1c\x1d\x1e\u0085\u2028\u2029", r) }
