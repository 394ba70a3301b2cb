package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"golang.org/x/term"

	"github.com/keyrot/keyrot/internal/config"
	"github.com/keyrot/keyrot/pkg/page"
	"github.com/keyrot/keyrot/pkg/rotate"
)

// watchEvery is how often the screen is drawn.
const watchEvery = time.Second

// watcher reads what is to be shown.
type watcher struct {
	roster  *rotate.Roster
	cfg     config.Config
	shows   statusOptions
	history *page.History
	clock   *rotate.Clock
}

// watch shows the status until ctx ends or q is pressed.
func (e Env) watch(ctx context.Context, o statusOptions) (err error) {
	cfg, err := e.loadValid(o.common)
	if err != nil {
		return err
	}
	if o.Output == "json" {
		return usagef("--watch draws on a terminal; take --output json without it")
	}
	clock := e.clockOnly(ctx, cfg)
	st, err := openExisting(ctx, cfg, clock)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	roster := &rotate.Roster{Store: st, Policy: cfg.PolicyAt(clock.Now), Now: clock.Now}
	w := &watcher{roster: roster, cfg: cfg, shows: o, history: &page.History{Path: cfg.Audit.Path}, clock: clock}
	if cfg.Store.Table != "" {
		w.history.Path = "" // the log is in the table: only what is there now is shown
	}
	out, ok := e.Out.(*os.File)
	if !ok || !term.IsTerminal(int(out.Fd())) {
		return w.plain(ctx, e.Out)
	}
	return w.terminal(ctx, out, e.Getenv("NO_COLOR") == "")
}

func (w *watcher) look(ctx context.Context) (page.Status, error) {
	entries, _, err := w.roster.All(ctx)
	if err != nil {
		return page.Status{}, err
	}
	if err := w.history.Refresh(); err != nil && !errors.Is(err, os.ErrPermission) {
		return page.Status{}, err // without the log the past is missing, no more
	}
	w.history.Note(entries)
	w.clock.Settle(ctx) // unless the table's answer told the time already
	now := w.clock.Now()
	events := w.history.Events(len(entries) <= page.PageSize, func(string) bool { return true })
	s := page.Build(page.Facts{Entries: entries, Policy: w.cfg.PolicyAt(w.clock.Now), Past: w.history.Past, Events: events}, now)
	s.Users = slices.DeleteFunc(s.Users, func(u page.User) bool {
		return !w.shows.Query.Takes(u) || len(w.shows.Users) > 0 && !slices.Contains(w.shows.Users, u.Name)
	})
	return s, nil
}

// each calls show now, every second and, with what is known already, at every
// move, until ctx ends.
func (w *watcher) each(ctx context.Context, moves <-chan move, show func(page.Status, move) error) error {
	t := time.NewTicker(watchEvery)
	defer t.Stop()
	for {
		s, err := w.look(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err == nil {
			err = show(s, stay)
		}
		for old := false; err == nil && !old; {
			select {
			case <-ctx.Done():
				return nil
			case m := <-moves:
				err = show(s, m)
			case <-t.C:
				old = true
			}
		}
		if err != nil {
			return err
		}
	}
}

// plain writes a table whenever something other than an age has changed.
func (w *watcher) plain(ctx context.Context, out io.Writer) error {
	last := ""
	return w.each(ctx, nil, func(s page.Status, _ move) error {
		rows, now := [][]string{{"USER", "KEY", "STAGE", "AGE", "STATE", "NEXT"}}, ""
		for _, u := range s.Users {
			now += u.Name + u.State + u.Why
			for i, k := range u.Keys {
				if k.Stage == "" {
					continue
				}
				now += k.ID + stageOf(k)
				row := []string{u.Name, k.ID, stageOf(k), page.Span(s.At.Sub(k.Created.At)), u.State, nextWords(u, s.At)}
				if i > 0 && len(rows) > 1 && rows[len(rows)-1][0] == u.Name {
					row[4], row[5] = "", ""
				}
				rows = append(rows, row)
			}
			if len(u.Keys) == 0 {
				rows = append(rows, []string{u.Name, "-", "-", "-", u.State, ""})
			}
		}
		if now == last && last != "" {
			return nil
		}
		last = now
		if _, err := fmt.Fprintf(out, "%s  %s\n", s.At.UTC().Format(time.RFC3339), s.Headline); err != nil {
			return err
		}
		return writeTable(out, rows)
	})
}

// The terminal's own words (ECMA-48, and synchronized updates, which terminals
// that do not know them ignore).
const (
	enter = "\x1b[?1049h\x1b[?25l" // the other screen, no cursor
	leave = "\x1b[?25h\x1b[?1049l" // back
	frame = "\x1b[?2026h\x1b[H"    // draw at once, from the top
	drawn = "\x1b[J\x1b[?2026l"    // nothing below; show it
	eol   = "\x1b[K\r\n"           // nothing to the right
)

// terminal draws on the whole screen.
func (w *watcher) terminal(ctx context.Context, out *os.File, colour bool) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	moves := make(chan move, 64)
	if in := int(os.Stdin.Fd()); term.IsTerminal(in) {
		old, err := term.MakeRaw(in)
		if err != nil {
			return fmt.Errorf("preparing the terminal: %w", err)
		}
		defer func() { _ = term.Restore(in, old) }()
		go readKeys(os.Stdin, cancel, moves) // a read of a terminal cannot be interrupted: it ends with the process
	}
	_, _ = io.WriteString(out, enter)
	defer func() { _, _ = io.WriteString(out, leave) }()
	v := &viewport{colour: colour}
	return w.each(ctx, moves, func(s page.Status, m move) error {
		v.move(m)
		var err error
		if v.cols, v.rows, err = term.GetSize(int(out.Fd())); err != nil {
			v.cols, v.rows = 80, 24
		}
		_, err = io.WriteString(out, frame+strings.Join(v.screen(s), eol)+drawn)
		return err
	})
}

// move is a key that scrolls.
type move int

// The moves.
const (
	stay move = iota
	up
	down
	pageUp
	pageDown
	toBegin
	toEnd
)

// moveKeys are what terminals send for keys, and letters that less has.
var moveKeys = map[string]move{
	"\x1b[A": up, "\x1bOA": up, "k": up, "\x1b[B": down, "\x1bOB": down, "j": down, "\r": down,
	"\x1b[5~": pageUp, "b": pageUp, "\x1b[6~": pageDown, " ": pageDown, "f": pageDown,
	"\x1b[H": toBegin, "\x1bOH": toBegin, "\x1b[1~": toBegin, "g": toBegin, "\x1b[F": toEnd, "\x1bOF": toEnd, "\x1b[4~": toEnd, "G": toEnd,
}

// readKeys tells moves, and calls quit when q, Ctrl-C or Ctrl-D is pressed.
// Moves that nobody waits for are lost.
func readKeys(in io.Reader, quit func(), moves chan<- move) {
	b := make([]byte, 64) // a terminal hands out a key as a whole
	for {
		n, err := in.Read(b)
		for rest := string(b[:n]); rest != ""; {
			key := rest[:1]
			if key == "\x1b" {
				key = escape.FindString(rest)
			}
			rest = rest[len(key):]
			if strings.Contains("qQ\x03\x04", key) {
				quit()
				return
			}
			if m, ok := moveKeys[key]; ok {
				select {
				case moves <- m:
				default:
				}
			}
		}
		if err != nil {
			return
		}
	}
}

// escape is a key that is sent as several characters, or any other one.
var escape = regexp.MustCompile(`^\x1b(\[[0-9;]*[~A-Za-z]|O[A-Z])?`)
