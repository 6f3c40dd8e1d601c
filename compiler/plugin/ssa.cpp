// SPDX-License-Identifier: GPL-2.0-only OR MIT
// Values with several definitions: after new ways into a function were made, each with its own copy of what is live.
// Through memory and back: LLVM's promotion of locals places the PHIs. (Its bulk SSA updater loses a definition that
// stands in a block which also needs a PHI for the same value, a loop of one block.)

#include "popcorn.h"

#include "llvm/IR/DebugInfo.h"
#include "llvm/IR/Dominators.h"
#include "llvm/Transforms/Utils/PromoteMemToReg.h"

namespace popcorn {

// Uses behind the definition in its own block see it in any case: new definitions end blocks of their own.
AllocaInst *Definitions::slot(Instruction *V)
{
	AllocaInst *&Slot = Slots[V];
	SmallVector<Use *> Uses;

	if (Slot)
		return Slot;
	Slot = new AllocaInst(V->getType(), 0, nullptr, "", F.getEntryBlock().begin());
	All.push_back(Slot);
	for (Use &U : V->uses()) {
		auto *I = cast<Instruction>(U.getUser());
		if (I->getParent() != V->getParent() || isa<PHINode>(I))
			Uses.push_back(&U);
	}
	for (Use *U : Uses) {
		auto *I = cast<Instruction>(U->getUser());
		auto *Phi = dyn_cast<PHINode>(I);

		if (U->get() != V)
			continue;
		BasicBlock *From = Phi ? Phi->getIncomingBlock(*U) : nullptr;
		if (From == V->getParent())
			continue;
		Value *Now = IRBuilder<>(Phi ? From->getTerminator() : I).CreateLoad(V->getType(), Slot, V->getName());
		if (!Phi) {
			U->set(Now);
			continue;
		}
		for (unsigned N = 0; N < Phi->getNumIncomingValues(); N++)	// several edges, one value
			if (Phi->getIncomingBlock(N) == From && Phi->getIncomingValue(N) == V)
				Phi->setIncomingValue(N, Now);
	}
	SmallVector<DbgValueInst *> None;
	SmallVector<DbgVariableRecord *> Records;
	findDbgValues(None, V, &Records);
	for (DbgVariableRecord *R : Records)
		if (R->getParent() != V->getParent())
			R->replaceVariableLocationOp(V, new LoadInst(V->getType(), Slot, "",
								     const_cast<Instruction *>(R->getInstruction())->getIterator()));
	Instruction *Behind = isa<PHINode>(V) ? &*V->getParent()->getFirstInsertionPt() : V->getNextNode();
	IRBuilder<>(Behind).CreateStore(V, Slot);
	return Slot;
}

void Definitions::add(Instruction *V, Value *Also, Instruction *Before)
{
	IRBuilder<>(Before).CreateStore(Also, slot(V));
}

void Definitions::resolve()
{
	DominatorTree DT(F);

	PromoteMemToReg(All, DT);
	All.clear();
}

} // namespace popcorn
