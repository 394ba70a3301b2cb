package plan

// Rank says how important a step is beside those of other users: the lowest
// goes first where not all can be taken at once.
type Rank int

// The ranks.
const (
	RankUrgent  Rank = iota // a leak, or a user with nothing to hand out that had something
	RankPromote             // a new key on its way, and whatever changes nothing in IAM
	RankRetire              // superseded keys leave
	RankRecover             // what a lost call or an older store left behind
	RankCreate              // a new key: it is never late for anybody who has one
)

// Rank returns the rank of a step that Next named for w.
func (w World) Rank(s Step) Rank {
	d := decision{World: w, r: &w.Record}
	if s.Action == Look {
		s.Action = s.Then
	}
	switch {
	case s.Reason == Burning, s.Action == Check, s.Action == Reactivate, d.bereft():
		return RankUrgent
	case s.Reason == Recovering, s.Reason == Orphan, s.Reason == Zombie, s.Reason == Reclaimed:
		return RankRecover
	case s.Action == Create, s.Action == Identify: // which comes before it
		return RankCreate
	case s.Action == Deactivate, s.Action == Delete, s.Reason == Superseded, s.Reason == Unchecked:
		return RankRetire
	}
	return RankPromote
}
