// SPDX-License-Identifier: GPL-2.0-only OR MIT
// -fpopcorn-strict: gives a meaning to what C leaves open and processors do in different ways, so that a program that
// relies on it goes on in the same way wherever it is moved to.
//
//   floating point to integer    the nearest value that there is; 0 for NaN
//   integer division             by zero, and of the least number by -1: SIGFPE
//   shifts                       by the count modulo the width
//   NaN                          from arithmetic: positive, quiet, without payload
//   -ffast-math and its parts    off: each processor has instructions of its own for what they allow
//
// All but NaN comes before any optimisation, which takes what is undefined for impossible. NaN comes behind
// most of them: only where its bits can be seen, in memory, calls and returns, is it made the one.

#include "popcorn.h"

#include "llvm/Analysis/TargetLibraryInfo.h"
#include "llvm/Analysis/ValueTracking.h"
#include "llvm/Transforms/Utils/BasicBlockUtils.h"

namespace popcorn {

namespace {

// Of 128 bits both kinds are computed by one library, the same on all ISAs.
bool isNative(Type *T)
{
	T = T->getScalarType();
	return T->isFloatTy() || T->isDoubleTy() || T->isHalfTy() ||
	       (T->isIntegerTy() && T->getIntegerBitWidth() <= 64);
}

void saturate(CastInst &Cast)
{
	Intrinsic::ID To = isa<FPToSIInst>(Cast) ? Intrinsic::fptosi_sat : Intrinsic::fptoui_sat;
	IRBuilder<> B(&Cast);
	Value *V = B.CreateIntrinsic(To, {Cast.getType(), Cast.getSrcTy()}, {Cast.getOperand(0)});

	V->takeName(&Cast);
	Cast.replaceAllUsesWith(V);
	Cast.eraseFromParent();
}

void maskShift(BinaryOperator &Shift)
{
	IRBuilder<> B(&Shift);
	Type *T = Shift.getType();
	unsigned Bits = T->getScalarSizeInBits();

	if (isPowerOf2_32(Bits) && !isa<Constant>(Shift.getOperand(1)))
		Shift.setOperand(1, B.CreateAnd(Shift.getOperand(1), ConstantInt::get(T, Bits - 1)));
}

void checkDivision(BinaryOperator &Div, Runtime &RT)
{
	IRBuilder<> B(&Div);
	Value *By = Div.getOperand(1);
	Type *T = Div.getType();
	bool Signed = Div.getOpcode() == Instruction::SDiv || Div.getOpcode() == Instruction::SRem;

	if (auto *C = dyn_cast<ConstantInt>(By); C && !C->isZero() && !(Signed && C->isMinusOne()))
		return;
	Value *Wrong = B.CreateICmpEQ(By, Constant::getNullValue(T));
	if (Signed) {
		APInt Least = APInt::getSignedMinValue(T->getScalarSizeInBits());
		Value *Overflows = B.CreateAnd(B.CreateICmpEQ(By, Constant::getAllOnesValue(T)),
					       B.CreateICmpEQ(Div.getOperand(0), ConstantInt::get(T, Least)));
		Wrong = B.CreateOr(Wrong, Overflows);
	}
	if (T->isVectorTy())
		Wrong = B.CreateOrReduce(Wrong);
	Instruction *Then = SplitBlockAndInsertIfThen(Wrong, Div.getIterator(), true, RT.unlikely());
	IRBuilder<> C(Then);
	C.SetCurrentDebugLocation(Div.getDebugLoc());
	RT.division(C);
}

void define(Function &F, Runtime &RT)
{
	SmallVector<Instruction *> Work;

	for (const char *Attr : {"unsafe-fp-math", "no-nans-fp-math", "no-infs-fp-math", "no-signed-zeros-fp-math",
				 "approx-func-fp-math"})
		F.removeFnAttr(Attr);
	for (Instruction &I : instructions(F)) {
		if (isa<FPMathOperator>(I))
			I.setFastMathFlags(FastMathFlags());
		Work.push_back(&I);
	}
	for (Instruction *I : Work)
		switch (I->getOpcode()) {
		case Instruction::FPToSI:
		case Instruction::FPToUI:
			if (isNative(I->getType()) && isNative(I->getOperand(0)->getType()))
				saturate(*cast<CastInst>(I));
			break;
		case Instruction::SDiv:
		case Instruction::UDiv:
		case Instruction::SRem:
		case Instruction::URem:
			checkDivision(*cast<BinaryOperator>(I), RT);
			break;
		case Instruction::Shl:
		case Instruction::LShr:
		case Instruction::AShr:
			maskShift(*cast<BinaryOperator>(I));
			break;
		}
}

// Changes or moves bits, NaN or not.
bool isBitwise(Intrinsic::ID ID)
{
	return ID == Intrinsic::fabs || ID == Intrinsic::copysign || ID == Intrinsic::not_intrinsic;
}

// A function of the library that computes. Those that don't may mean the bits that they give.
bool isMath(const Function &F, const TargetLibraryInfo &TLI)
{
	static constexpr StringRef Means[] = {"fabs", "copysign", "nan", "strto", "ato", "wcsto"};
	LibFunc Known;

	return TLI.getLibFunc(F, Known) && none_of(Means, [&](StringRef S) { return F.getName().starts_with(S); });
}

bool isArithmetic(const Instruction &I, const TargetLibraryInfo &TLI)
{
	switch (I.getOpcode()) {
	case Instruction::FAdd:
	case Instruction::FSub:
	case Instruction::FMul:
	case Instruction::FDiv:
	case Instruction::FRem:
	case Instruction::FPTrunc:
	case Instruction::FPExt:
		return true;
	case Instruction::Call:
		if (auto *II = dyn_cast<IntrinsicInst>(&I))
			return !isBitwise(II->getIntrinsicID());
		const Function *F = cast<CallInst>(I).getCalledFunction();
		return F && F->isDeclaration() && isMath(*F, TLI);
	}
	return false;
}

// Takes any NaN for what it is, whatever its bits; or passes on what it gets, and is looked at itself.
bool isIndifferent(const Instruction &User, const TargetLibraryInfo &TLI)
{
	return isa<FCmpInst>(User) || isa<PHINode>(User) || isa<SelectInst>(User) ||
	       (isArithmetic(User, TLI) && isNative(User.getType()));
}

// A sum in a loop goes round as it comes, and is looked at once behind it.
void makeOneNaN(Function &F, const TargetLibraryInfo &TLI)
{
	SimplifyQuery Query(F.getDataLayout(), &TLI);
	SmallSetVector<Instruction *, 32> Results;

	for (Instruction &I : instructions(F))
		if (I.getType()->isFPOrFPVectorTy() && isNative(I.getType()) && isArithmetic(I, TLI))
			Results.insert(&I);
	for (unsigned N = 0; N < Results.size(); N++)
		for (User *U : Results[N]->users())
			if (isa<PHINode>(U) || isa<SelectInst>(U))
				Results.insert(cast<Instruction>(U));
	for (Instruction *I : Results) {
		auto seesBits = [&](User *U) { return !isIndifferent(*cast<Instruction>(U), TLI); };

		if (none_of(I->users(), seesBits) || isKnownNeverNaN(I, 0, Query))
			continue;
		Instruction *Behind = isa<PHINode>(I) ? &*I->getParent()->getFirstInsertionPt() : I->getNextNode();
		IRBuilder<> B(Behind);
		B.SetCurrentDebugLocation(I->getDebugLoc());
		Value *One = B.CreateSelect(B.CreateFCmpUNO(I, I), ConstantFP::getNaN(I->getType()), I);
		I->replaceUsesWithIf(One, [&](Use &U) { return U.getUser() != One && seesBits(U.getUser()); });
	}
}

} // namespace

PreservedAnalyses StrictPass::run(Module &M, ModuleAnalysisManager &)
{
	Runtime RT(M);
	TargetLibraryInfoImpl Library(Triple(M.getTargetTriple()));

	for (Function &F : M) {
		if (F.isDeclaration())
			continue;
		if (NaN)
			makeOneNaN(F, TargetLibraryInfo(Library, &F));
		else
			define(F, RT);
	}
	return PreservedAnalyses::none();
}

} // namespace popcorn
