// SPDX-License-Identifier: GPL-2.0-only OR MIT
// What can't be the same on all ISAs, or can't be left and entered again: refused with file and line before any work is
// put into it. C by the canonical front end hardly leads to it, bitcode of other origin may.

#include "popcorn.h"

#include "llvm/ADT/StringExtras.h"
#include "llvm/IR/InlineAsm.h"

namespace popcorn {

static bool isPortable(Type *T)
{
	if (auto *S = dyn_cast<StructType>(T))
		return all_of(S->elements(), isPortable);
	if (auto *A = dyn_cast<ArrayType>(T))
		return isPortable(A->getElementType());
	return !T->isX86_FP80Ty() && !T->isPPC_FP128Ty() && !T->isX86_AMXTy() && !T->isTargetExtTy() &&
	       !isa<ScalableVectorType>(T);
}

static void refuse(const Instruction &I)
{
	if (!isPortable(I.getType()) || any_of(I.operands(), [](const Use &U) { return !isPortable(U->getType()); }))
		diagnose(I, "a value of a type that only some ISAs have", DS_Error);
	if (isa<CallBrInst>(I))
		diagnose(I, "assembly that jumps to labels of C", DS_Error);
	else if (isa<InvokeInst>(I))
		diagnose(I, "a call with exceptional edges can't be captured", DS_Error);
	else if (auto *II = dyn_cast<IntrinsicInst>(&I);
		 II && (II->getIntrinsicID() == Intrinsic::read_register ||
			II->getIntrinsicID() == Intrinsic::write_register ||
			II->getIntrinsicID() == Intrinsic::read_volatile_register))
		diagnose(I, "a variable in a register of one ISA", DS_Error);
}

void refuseUnportable(Module &M)
{
	for (Function &F : M)
		for (Instruction &I : instructions(F))
			refuse(I);
}

// A call from inline assembly comes back to code that doesn't test whether to leave.
bool mayCall(const CallBase &CB)
{
	auto *Asm = dyn_cast<InlineAsm>(CB.getCalledOperand());
	SmallVector<StringRef> Words;

	if (!Asm)
		return false;
	SplitString(Asm->getAsmString(), Words, " \t\n;");
	return any_of(Words, [](StringRef W) {
		return W.starts_with("call") || W == "bl" || W == "blr" || W == "jal" || W == "jalr";
	});
}

} // namespace popcorn
