// SPDX-License-Identifier: GPL-2.0-only OR MIT
// What a debugger is told of variables in frames that were resumed: a resume function enters its body behind a site,
// past the records that say where variables are, so they are said again there.

#include "popcorn.h"

#include "llvm/ADT/MapVector.h"
#include "llvm/Analysis/CFG.h"
#include "llvm/IR/DebugInfo.h"
#include "llvm/IR/Dominators.h"

namespace popcorn {

// Of one variable: the record that holds at an instruction on every way to it, or null.
static DbgVariableRecord *lastBefore(Instruction &At, ArrayRef<DbgVariableRecord *> Records, const DominatorTree &DT)
{
	DbgVariableRecord *Last = nullptr;

	for (DbgVariableRecord *R : Records) {
		const Instruction *I = R->getInstruction();

		if ((I == &At || DT.dominates(I, &At)) &&
		    (!Last || Last->getInstruction() == I || DT.dominates(Last->getInstruction(), I)))
			Last = R;
	}
	if (!Last)
		return nullptr;
	SmallPtrSet<BasicBlock *, 1> Through{Last->getParent()};
	for (DbgVariableRecord *R : Records) {
		const Instruction *I = R->getInstruction();

		if (R->getParent() != Last->getParent() && !DT.dominates(I, &At) &&
		    isPotentiallyReachable(I, &At, &Through, &DT))
			return nullptr;
	}
	return Last;
}

static bool isKept(Value *V, ArrayRef<Value *> Live)
{
	return isa<Constant>(V) || is_contained(Live, V);
}

// Of each site: which records hold there and name nothing that is lost.
SmallVector<DebugRecords> describeSites(Function &F, ArrayRef<Site> Sites)
{
	SmallVector<DebugRecords> Described(Sites.size());
	MapVector<DebugVariable, DebugRecords> Variables;

	if (!F.getSubprogram())
		return Described;
	for (Instruction &I : instructions(F))
		for (DbgVariableRecord &R : filterDbgVars(I.getDbgRecordRange()))
			if (R.isDbgValue())
				Variables[DebugVariable(&R)].push_back(&R);
	DominatorTree DT(F);
	for (unsigned N = 0; N < Sites.size(); N++)
		for (auto &[Variable, Records] : Variables)
			if (DbgVariableRecord *R = lastBefore(*Sites[N].Call, Records, DT);
			    R && !R->isKillLocation() &&
			    all_of(R->location_ops(), [&](Value *V) { return isKept(V, Sites[N].Live); }))
				Described[N].push_back(R);
	return Described;
}

void describeAgain(Instruction &Before, ArrayRef<DbgVariableRecord *> Records,
		   ArrayRef<std::pair<Instruction *, Value *>> Now)
{
	for (DbgVariableRecord *R : Records) {
		DbgVariableRecord *Again = R->clone();

		for (auto [Old, New] : Now)
			if (is_contained(R->location_ops(), Old))
				Again->replaceVariableLocationOp(Old, New);
		Before.getParent()->insertDbgRecordBefore(Again, Before.getIterator());
	}
}

} // namespace popcorn
