// SPDX-License-Identifier: GPL-2.0-only OR MIT
// Lets every frame of a moving function be left and entered again at its sites.
//
// Behind a site the thread's "unwinding" is tested. If it is set, the frame stores what is live there in a record and
// returns, and so do its callers. To enter again, a record's resume function, a copy of the function that starts
// with a switch over its sites, loads the values, calls the resume function of the next record in the place of
// the call, and goes on behind it. The copy can be captured like the original; records name the copy.
//
// Invariants:
//   - A record holds nothing private to an ISA: no native stack address (those locals are on the shadow stack, or dead
//     at the site), no code address but that of functions, no label.
//   - The result of a site's call is never part of its record: the callee may not have finished.
//   - Copy and original number their sites alike and lay out their records alike, on all ISAs: all of this is decided
//     once, before the module is compiled for each.
//   - A call whose result is returned as it comes, by a function without a frame on the shadow stack, needs no record:
//     the caller's record is followed by the callee's.

#include "popcorn.h"

#include "llvm/Support/CommandLine.h"
#include "llvm/Transforms/Utils/BasicBlockUtils.h"
#include "llvm/Transforms/Utils/Cloning.h"
#include "llvm/Transforms/Utils/Local.h"

namespace popcorn {

static cl::opt<bool> KeepFrames("popcorn-keep-frames", cl::init(false),
	cl::desc("A record for every frame, tail calls too, so that a debugger sees them after a move"));

namespace {

class FunctionCapture {
public:
	FunctionCapture(Function &F, const MayMove &May, Runtime &RT) : F(F), May(May), RT(RT) {}
	void run();

private:
	SmallVector<CallInst *> findSites();
	const char *whyPinned(ArrayRef<CallInst *> Calls);
	void pin(ArrayRef<CallInst *> Calls);
	bool returnsResult(CallInst &Call);
	Function *createResume(SmallVectorImpl<Site> &ResumeSites);
	void addTests(Function &In, ArrayRef<Site> Sites, SmallVectorImpl<BasicBlock *> &Tests);
	void findLanding(CallInst &Marker, const Site &S);
	BranchInst *landAgain(BasicBlock *At, ArrayRef<std::pair<Instruction *, Value *>> Loads);
	void test(BasicBlock *Test, BasicBlock *Leave, BasicBlock *Go);
	BranchInst *startsWithPoint(BasicBlock &Go);
	void testBoth(BasicBlock *Test, BasicBlock *Leave, BasicBlock *Go, BranchInst &Point);
	void save(BasicBlock *Save, const Site &S, unsigned Number);
	void dispatch(ArrayRef<Site> Sites, ArrayRef<BasicBlock *> Tests, ArrayRef<DebugRecords> Described);

	Function &F;
	const MayMove &May;
	Runtime &RT;
	SmallVector<Site> Sites;
	Function *Resume = nullptr;
	struct {			// of a resume function with a setjmp(): where its landing is, and whither it leads
		Value *Frame = nullptr;		// at an offset from this value, which all sites keep
		int64_t Offset = 0;
		BasicBlock *Catch = nullptr;
	} Landing;
};

SmallVector<CallInst *> FunctionCapture::findSites()
{
	SmallVector<CallInst *> Calls;

	for (Instruction &I : instructions(F)) {
		auto *CB = dyn_cast<CallBase>(&I);
		if (!CB || !May.isSite(*CB))
			continue;
		if (auto *Call = dyn_cast<CallInst>(CB))
			Calls.push_back(Call);
		else
			diagnose(*CB, "a call with exceptional edges can't be captured", DS_Error);
	}
	return Calls;
}

static bool canBeKept(Type *T)
{
	if (auto *S = dyn_cast<StructType>(T))
		return !S->isOpaque() && all_of(S->elements(), canBeKept);
	if (auto *A = dyn_cast<ArrayType>(T))
		return canBeKept(A->getElementType());
	return !T->isTokenTy() && !T->isX86_FP80Ty() && !T->isPPC_FP128Ty() && !T->isX86_AMXTy() &&
	       !T->isTargetExtTy() && !isa<ScalableVectorType>(T);
}

// Code that C doesn't lead to, but that may come in as bitcode.
const char *FunctionCapture::whyPinned(ArrayRef<CallInst *> Calls)
{
	SmallVector<Site> At;

	for (Argument &A : F.args())
		if (A.hasPassPointeeByValueCopyAttr() || A.hasSwiftErrorAttr() || A.hasNestAttr())
			return "an argument in the native stack";
	for (CallInst *Call : Calls)
		At.push_back({Call, {}, {}, 0});
	findLive(F, At);
	for (Site &S : At) {
		for (Value *V : S.Live)
			if (!canBeKept(V->getType()))
				return "a value of a type that only some ISAs have";
		layOut(S, RecordValues, RT.DL);
		if (S.Bytes > RecordMax)
			return "too many values at once";
	}
	return nullptr;
}

// A frame that can't be captured keeps the thread from moving while its callees run. longjmp() still goes through.
void FunctionCapture::pin(ArrayRef<CallInst *> Calls)
{
	for (CallInst *Call : Calls) {
		if (Call->isMustTailCall())
			continue;
		IRBuilder<> B(Call);
		RT.store(B, B.CreateAdd(RT.load(B, Pins), B.getInt32(1)), Pins);
		Instruction *Behind = Call->getNextNode();
		B.SetInsertPoint(Behind);
		RT.store(B, B.CreateSub(RT.load(B, Pins), B.getInt32(1)), Pins);
		Value *Leaves = B.CreateICmpNE(RT.load(B, Unwinding), B.getInt32(Runs));
		Instruction *End = SplitBlockAndInsertIfThen(Leaves, Behind->getIterator(), true, RT.unlikely());
		Value *Result = F.getReturnType()->isVoidTy() ? nullptr : PoisonValue::get(F.getReturnType());
		ReturnInst::Create(RT.C, Result, End->getIterator());
		End->eraseFromParent();
		Call->setTailCall(false);
	}
}

bool FunctionCapture::returnsResult(CallInst &Call)
{
	if (Call.isMustTailCall())
		return true;
	if (KeepFrames)
		return false;
	Value *Result = &Call;
	Instruction *I = Call.getNextNonDebugInstruction();

	if (auto *Br = dyn_cast<BranchInst>(I); Br && Br->isUnconditional()) {
		BasicBlock *To = Br->getSuccessor(0);
		I = &*To->getFirstNonPHIOrDbg();
		if (auto *Ret = dyn_cast<ReturnInst>(I))
			if (auto *Phi = dyn_cast_or_null<PHINode>(Ret->getReturnValue()))
				if (Phi->getParent() == To && Phi->getIncomingValueForBlock(Call.getParent()) == &Call)
					Result = Phi;
	}
	auto *Ret = dyn_cast<ReturnInst>(I);
	return Ret && (Ret->getReturnValue() ? Ret->getReturnValue() == Result : Call.getType()->isVoidTy());
}

static void removeUnreachable(Function &F)
{
	EliminateUnreachableBlocks(F);
}

Function *FunctionCapture::createResume(SmallVectorImpl<Site> &ResumeSites)
{
	FunctionType *Type = FunctionType::get(F.getReturnType(), {RT.Ptr}, false);
	Function *R = Function::Create(Type, F.getLinkage(), F.getAddressSpace(), F.getName() + ".resume", &RT.M);
	ValueToValueMapTy Map;
	SmallVector<ReturnInst *> Returns;

	// Arguments are values like others here: something has to define them, until dispatch() does.
	BasicBlock *Start = BasicBlock::Create(RT.C, "arguments", R);
	IRBuilder<> B(Start);
	for (Argument &A : F.args())
		Map[&A] = B.CreateFreeze(PoisonValue::get(A.getType()), A.getName());
	CloneFunctionInto(R, &F, Map, CloneFunctionChangeType::LocalChangesOnly, Returns);
	B.CreateBr(cast<BasicBlock>(Map[&F.getEntryBlock()]));
	Start->moveBefore(&R->front());

	// The copy has another type, so it can't promise a tail call; it makes at most one after each move.
	for (Instruction &I : instructions(*R))
		if (auto *Call = dyn_cast<CallInst>(&I); Call && Call->isMustTailCall())
			Call->setTailCallKind(CallInst::TCK_Tail);

	AttributeList Old = F.getAttributes();
	R->setAttributes(AttributeList::get(RT.C, Old.getFnAttrs(), Old.getRetAttrs(), {}));
	R->removeFnAttr(Attribute::AlwaysInline);
	R->removeFnAttr(Attribute::InlineHint);
	R->removeFnAttr(Attribute::AllocSize);
	R->addFnAttr(Attribute::NoInline);
	// It runs until the function next returns: fast enough without loops being multiplied once more.
	R->addFnAttr(Attribute::OptimizeForSize);
	R->setVisibility(F.getVisibility());
	R->setDSOLocal(F.isDSOLocal());
	R->setCallingConv(CallingConv::C);
	R->getArg(0)->setName("record");
	// A program's own section is for the function it names.
	R->setSection("");

	for (Site &S : Sites) {
		Site &C = ResumeSites.emplace_back(Site{cast<CallInst>(Map[S.Call]), {}, S.Offset, S.Bytes});
		for (Value *V : S.Live)
			C.Live.push_back(Map[V]);
	}
	return R;
}

void FunctionCapture::save(BasicBlock *Save, const Site &S, unsigned Number)
{
	IRBuilder<> B(Save);

	B.SetCurrentDebugLocation(S.Call->getDebugLoc());
	CallInst *Record = RT.save(B, S.Bytes);
	auto slot = [&](uint64_t Offset) { return B.CreateConstInBoundsGEP1_64(RT.I8, Record, Offset); };
	B.CreateStore(Resume, Record);
	B.CreateStore(B.getInt32(Number), slot(RecordSite));
	for (auto [V, Offset] : zip(S.Live, S.Offset))
		B.CreateAlignedStore(V, slot(Offset), slotAlign(V->getType(), RT.DL));
	if (F.getReturnType()->isVoidTy())
		B.CreateRetVoid();
	else
		B.CreateRet(PoisonValue::get(F.getReturnType()));
}

void FunctionCapture::test(BasicBlock *Test, BasicBlock *Leave, BasicBlock *Go)
{
	IRBuilder<> B(Test);

	Value *Leaves = B.CreateICmpNE(RT.load(B, Unwinding, "unwinding"), B.getInt32(Runs));
	B.CreateCondBr(Leaves, Leave, Go, RT.unlikely());
}

// The branch of a point that follows at once.
BranchInst *FunctionCapture::startsWithPoint(BasicBlock &Go)
{
	auto *Branch = dyn_cast<BranchInst>(Go.getTerminator());
	auto *Compare = Branch && Branch->isConditional() ? dyn_cast<ICmpInst>(Branch->getCondition()) : nullptr;
	auto *Load = Compare ? dyn_cast<LoadInst>(Compare->getOperand(0)) : nullptr;

	if (!Load || !RT.isField(*Load, Flag) || Go.hasNPredecessorsOrMore(1))
		return nullptr;
	for (Instruction &I : Go.instructionsWithoutDebug())
		if (&I != Branch && &I != Compare && &I != Load && I.mayHaveSideEffects())
			return nullptr;
	return Branch;
}

// Both fields at once, they are neighbours: a point behind a site costs nothing.
void FunctionCapture::testBoth(BasicBlock *Test, BasicBlock *Leave, BasicBlock *Go, BranchInst &Point)
{
	auto *Compare = cast<ICmpInst>(Point.getCondition());
	BasicBlock *Which = BasicBlock::Create(RT.C, "which", Test->getParent(), Leave);
	IRBuilder<> B(Test), W(Which);

	B.CreateBr(Go);
	B.SetInsertPoint(&Point);
	B.SetCurrentDebugLocation(Point.getDebugLoc());
	W.SetCurrentDebugLocation(Point.getDebugLoc());
	Value *Any = B.CreateICmpNE(RT.loadBoth(B), B.getInt64(0), "any");
	Value *Leaves = W.CreateICmpNE(RT.load(W, Unwinding, "unwinding"), W.getInt32(Runs));
	W.CreateCondBr(Leaves, Leave, Point.getSuccessor(0), RT.unlikely());
	Point.getSuccessor(0)->replacePhiUsesWith(Go, Which);
	Point.setCondition(Any);
	Point.setSuccessor(0, Which);
	Instruction *Load = cast<Instruction>(Compare->getOperand(0));
	Compare->eraseFromParent();
	Load->eraseFromParent();
}

// Tests gets, for each site, the block behind the call that tests whether the frame is to be left.
void FunctionCapture::addTests(Function &In, ArrayRef<Site> Sites, SmallVectorImpl<BasicBlock *> &Tests)
{
	for (auto [Number, S] : enumerate(Sites)) {
		CallInst *Call = S.Call;
		CallInst *Marker = jumpMarker(*Call);
		BasicBlock *Save = BasicBlock::Create(RT.C, "save", &In), *Leave = Save, *Go;

		Call->setTailCall(false);
		BasicBlock *Test = Call->getParent()->splitBasicBlock(std::next(Call->getIterator()), "test");
		if (Marker) {
			Leave = BasicBlock::Create(RT.C, "leave", &In, Save);
			IRBuilder<> B(Leave);
			B.SetCurrentDebugLocation(Call->getDebugLoc());
			expandJumpMarker(*Marker, B, Save, RT);
			Go = Test->getTerminator()->getSuccessor(1);
			if (&In == Resume)
				findLanding(*Marker, S);
			Test->getTerminator()->eraseFromParent();
			Marker->eraseFromParent();
		} else {
			Go = Test->splitBasicBlock(Test->begin(), "go");
			Test->getTerminator()->eraseFromParent();
		}
		if (BranchInst *Point = startsWithPoint(*Go))
			testBoth(Test, Leave, Go, *Point);
		else
			test(Test, Leave, Go);
		save(Save, S, Number);
		Tests.push_back(Test);
	}
}

void FunctionCapture::findLanding(CallInst &Marker, const Site &S)
{
	APInt Offset(64, 0);

	Landing.Frame = Marker.getArgOperand(0);
	while (!is_contained(S.Live, Landing.Frame)) {
		auto *Step = cast<GetElementPtrInst>(Landing.Frame);
		Step->accumulateConstantOffset(RT.DL, Offset);
		Landing.Frame = Step->getPointerOperand();
	}
	Landing.Offset = Offset.getSExtValue();
	Landing.Catch = Marker.getParent()->getTerminator()->getSuccessor(0);
}

// The native frame is a new one: signal handlers are to jump into this. Returns where the block goes on.
BranchInst *FunctionCapture::landAgain(BasicBlock *At, ArrayRef<std::pair<Instruction *, Value *>> Loads)
{
	BasicBlock *On = BasicBlock::Create(RT.C, "resumes", Resume, At->getNextNode());
	IRBuilder<> B(At);
	auto *Kept = find_if(Loads, [&](auto &L) { return L.first == Landing.Frame; });
	Value *There = B.CreateGEP(RT.I8, Kept->second, B.getInt64(Landing.Offset));
	Value *Back = B.CreateICmpNE(RT.land(B, There), B.getInt32(0));
	return B.CreateCondBr(Back, Landing.Catch, On, RT.unlikely());
}

// Gives the resume function its start: a block for each site, which loads the site's values, calls on, and joins the
// body behind the call. A value has then several definitions; what was before the sites may have become unreachable.
void FunctionCapture::dispatch(ArrayRef<Site> Sites, ArrayRef<BasicBlock *> Tests, ArrayRef<DebugRecords> Described)
{
	BasicBlock *Body = &Resume->getEntryBlock();
	BasicBlock *Start = BasicBlock::Create(RT.C, "resume", Resume, Body);
	Value *Record = Resume->getArg(0);
	IRBuilder<> B(Start);
	Definitions Defs(*Resume);
	SmallVector<std::pair<BasicBlock *, SmallVector<std::pair<Instruction *, Value *>>>> Loaded;

	B.SetCurrentDebugLocation(Sites[0].Call->getDebugLoc());
	Value *Number = B.CreateLoad(RT.I32, B.CreateConstInBoundsGEP1_64(RT.I8, Record, RecordSite), "site");
	SwitchInst *Switch = B.CreateSwitch(Number, Body, Sites.size());
	for (auto [N, S] : enumerate(Sites)) {
		BasicBlock *At = BasicBlock::Create(RT.C, "site", Resume, Body);
		CallInst *Call = S.Call;
		SmallVector<std::pair<Instruction *, Value *>> Loads;

		Switch->addCase(B.getInt32(N), At);
		IRBuilder<> L(At);
		L.SetCurrentDebugLocation(Call->getDebugLoc());
		for (auto [V, Offset] : zip(S.Live, S.Offset)) {
			Value *Slot = L.CreateConstInBoundsGEP1_64(RT.I8, Record, Offset);
			Value *Now = L.CreateAlignedLoad(V->getType(), Slot, slotAlign(V->getType(), RT.DL),
							 V->getName());
			Loads.push_back({cast<Instruction>(V), Now});
		}
		if (Landing.Catch) {
			BranchInst *End = landAgain(At, Loads);
			for (auto [V, Loaded] : Loads)
				Defs.add(V, Loaded, End);
			Loads.clear();
			L.SetInsertPoint(End->getSuccessor(1));
		}
		CallInst *Next = RT.next(L);
		describeAgain(*Next, Described[N], Loads);
		describeAgain(*Tests[N]->getFirstInsertionPt(), Described[N], {});
		Value *Function = L.CreateLoad(RT.Ptr, Next);
		CallInst *On = L.CreateCall(FunctionType::get(Call->getType(), {RT.Ptr}, false), Function, {Next});
		AttributeList Attrs = Call->getAttributes();
		On->setAttributes(AttributeList::get(RT.C, {}, Attrs.getRetAttrs(), {}));
		if (!Call->getType()->isVoidTy() && !Call->use_empty())
			Loads.push_back({Call, On});
		L.CreateBr(Tests[N]);
		Loaded.push_back({At, std::move(Loads)});
	}
	for (auto &[At, Loads] : Loaded)
		for (auto [V, Now] : Loads)
			Defs.add(V, Now, At->getTerminator());
	Defs.resolve();

	BasicBlock *Nowhere = BasicBlock::Create(RT.C, "nowhere", Resume);
	new UnreachableInst(RT.C, Nowhere);
	Switch->setDefaultDest(Nowhere);
	// Locals that stayed in the native stack: new ones, dead at every site.
	for (Instruction &I : make_early_inc_range(instructions(*Resume)))
		if (auto *A = dyn_cast<AllocaInst>(&I); A && isa<ConstantInt>(A->getArraySize()))
			A->moveBefore(*Start, Start->begin());
	removeUnreachable(*Resume);
}

void FunctionCapture::run()
{
	SmallVector<CallInst *> Calls;

	lowerSetjmp(F, May, RT);
	Calls = findSites();
	if (Calls.empty())
		return;
	if (const char *Why = whyPinned(Calls)) {
		diagnose(*Calls[0], Twine("threads can't move while they are in this function: ") + Why, DS_Warning);
		F.addFnAttr("popcorn-pinned", Why);
		pin(Calls);
		return;
	}
	bool HasFrame = moveLocals(F, Calls, RT);
	for (CallInst *Call : Calls)
		if (HasFrame ? !Call->isMustTailCall() : !returnsResult(*Call))
			Sites.push_back({Call, {}, {}, 0});
	if (Sites.empty())
		return;
	findLive(F, Sites);
	for (Site &S : Sites) {
		erase_if(S.Live, [](Value *V) { return isa<AllocaInst>(V); });
		layOut(S, RecordValues, RT.DL);
	}

	SmallVector<Site> ResumeSites;
	SmallVector<BasicBlock *> Tests, ResumeTests;
	Resume = createResume(ResumeSites);
	SmallVector<DebugRecords> Described = describeSites(*Resume, ResumeSites);
	addTests(F, Sites, Tests);
	addTests(*Resume, ResumeSites, ResumeTests);
	dispatch(ResumeSites, ResumeTests, Described);
}

} // namespace

PreservedAnalyses CapturePass::run(Module &M, ModuleAnalysisManager &)
{
	Runtime RT(M);
	splitSigsetjmp(M, RT);
	NeverMoves Never(M);
	MayMove May(M, Never);
	SmallVector<Function *> Moving;

	for (Function &F : M) {
		if (May.contains(F)) {
			Moving.push_back(&F);
			stripPromises(F);
		} else if (callsSetjmp(F)) {
			Moving.push_back(&F);
		} else if (F.isDeclaration() && !F.isIntrinsic() && !Never.contains(F)) {
			stripPromises(F);
		}
		for (Instruction &I : instructions(F))
			if (auto *CB = dyn_cast<CallBase>(&I); CB && May.isSite(*CB))
				stripPromises(*CB);
	}
	for (Function *F : Moving)
		FunctionCapture(*F, May, RT).run();
	return PreservedAnalyses::none();
}

} // namespace popcorn
